"""Reads files with scenes, channels, depths and times plane by plane; here TIFF, with tifffile.

tifffile itself reads the axes of OME, ImageJ and LSM. For other formats see
:mod:`nucdet.data.io.bioio_stacks`.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from nucdet.data.io.choice import Place, choose_scene
from nucdet.data.io.pixel_size import ome_pixels, pixel_size_of, z_step_of
from nucdet.data.io.reading import damaged
from nucdet.data.io.windows import is_large
from nucdet.errors import InputError


class Stack(ABC):
    """The planes of a file.

    Attributes:
        path: of the file.
        times, depths: lengths of these axes.
        channels: names, "" if unknown; ("",) for a grey or RGB image.
        is_color: whether a plane is RGB.
        pixel_size, z_step: the side of a pixel and the distance of two depths, µm, or None if the
            file has none, or an implausible one.
    """

    path: Path
    times = 1
    depths = 1
    channels: tuple[str, ...] = ("",)
    is_color = False
    pixel_size: float | None = None
    z_step: float | None = None

    @abstractmethod
    def plane(self, time: int, channel: int, z: int) -> np.ndarray:
        """The stored values, (H, W) or (H, W, 3) RGB.

        Raises:
            InputError: this part of the file is damaged.
        """

    def read(self, channel: int, place: Place) -> np.ndarray:
        """:meth:`plane`, or a projection of all depths.

        Raises:
            InputError: this part of the file is damaged.
        """
        if isinstance(place.z, str):
            return self._projected(place.time, channel, place.z)
        return self.plane(place.time, channel, place.z)

    def _projected(self, time: int, channel: int, how: str) -> np.ndarray:
        first = self.plane(time, channel, 0)
        result = first.copy() if how == "max" else first.astype(np.float64)
        for z in range(1, self.depths):
            plane = self.plane(time, channel, z)
            result = np.maximum(result, plane) if how == "max" else result + plane
        if how == "max":
            return result
        mean = result / self.depths
        # in the stored dtype, so that 8 bits stay 8 bits
        return (np.rint(mean) if first.dtype.kind in "ui" else mean).astype(first.dtype)


class TiffStack(Stack):
    """A scene of a TIFF whose axes are named by OME, ImageJ or tifffile.

    Unnamed axes count as depths, then as times. The file stays open, and pages are read on demand.

    Attributes:
        is_large: whether a page should be, and can be, read by windows.
    """

    def __init__(self, path: Path, scene: int | str | None = None):
        """
        Args:
            path: of the file.
            scene: see :class:`nucdet.data.io.choice.Choice`.

        Raises:
            InputError: the file is cut short, an axis is not supported, none of several scenes is
                chosen, or there is no such scene.
        """
        self.path = path
        tiff = tifffile.TiffFile(path)
        # pyramids also contain smaller copies of the image
        scenes = [s for s in tiff.series if not s.keyframe.is_reduced]
        _check_whole(path, tiff, scenes)
        # an OME-TIFF that is divided among several files lists the scenes of all of them
        here = [
            i
            for i, one in enumerate(scenes)
            if any(p is not None and p.parent is tiff for p in one)
        ]
        here = here or list(range(len(scenes)))
        names = _scene_names(scenes)
        number = here[choose_scene(path, [names[i] for i in here], scene)]
        self._pages = _Pages(scenes[number])
        axes = _named_axes(path, scenes[number].axes, scenes[number].shape)
        length = dict(zip(axes, scenes[number].shape, strict=True))
        layout = scenes[number].keyframe
        self.is_large = is_large(layout)
        self.is_color = "S" in length and layout.photometric.name in ("RGB", "YCBCR")
        if "S" in length and not self.is_color:
            if "C" in length:
                raise InputError(f"{path}: axes {scenes[number].axes}; expected one of channels")
            axes = axes.replace("S", "C")
            length["C"] = length.pop("S")
        self._axes = axes
        self.times, self.depths = length.get("T", 1), length.get("Z", 1)
        pixels = ome_pixels(tiff, number, len(scenes))
        self.channels = _tiff_channels(tiff, pixels, length.get("C", 1))
        self.pixel_size = pixel_size_of(tiff, pixels, layout)
        self.z_step = z_step_of(tiff, pixels)

    def plane(self, time: int, channel: int, z: int) -> np.ndarray:
        place = {"T": time, "C": channel, "Z": z}
        index = tuple(place.get(axis, slice(None)) for axis in self._axes)
        # for damaged files, decoders may raise nearly anything
        try:
            pixels = self._pages[index]
        except Exception as error:
            raise damaged(self.path, error) from error
        if not self.is_color:
            return np.ascontiguousarray(pixels)
        left = [axis for axis in self._axes if axis not in place]
        return np.ascontiguousarray(np.moveaxis(pixels, left.index("S"), -1)[..., :3])

    def page(self, time: int, channel: int, z: int) -> tifffile.TiffPage | None:
        """The page that contains exactly this plane, in grey values; None if there is none."""
        place = {"T": time, "C": channel, "Z": z}
        outer = tuple(place[axis] for axis in self._axes if axis in place)
        return self._pages.page(outer) if self._axes.endswith("YX") else None


class _Pages:
    """A series as an array, of which only the page that is indexed is read."""

    def __init__(self, series: Any):
        self._series = series
        inner = len(series.keyframe.shape)
        self._outer = series.shape[: len(series.shape) - inner]
        self._last: tuple[int, np.ndarray] | None = None
        self._whole: np.ndarray | None = None
        # whether each page corresponds to one index of the axes before rows and columns
        self._are_slices = (
            series.shape[len(self._outer) :] == series.keyframe.shape
            and math.prod(self._outer) == len(series)
            and not series.is_truncated
        )
        if series.dataoffset is not None:  # uncompressed, contiguous pages
            file = series.keyframe.parent
            self._whole = file.filehandle.memmap_array(
                series.dtype.newbyteorder(file.byteorder), series.shape, series.dataoffset
            )
        elif not self._are_slices:
            self._whole = series.asarray()

    def page(self, outer: tuple[int, ...]) -> tifffile.TiffPage | None:
        """The grey page at an index of the axes before rows and columns; None if there is none."""
        is_grey = self._series.keyframe.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        if not self._are_slices or len(outer) != len(self._outer) or not is_grey:
            return None
        page = self._series[self._number(outer)]
        # tifffile has closed the other files of a set
        return None if page is None or page.parent.filehandle.closed else page.aspage()

    def _number(self, outer: tuple[int, ...]) -> int:
        return int(np.ravel_multi_index(outer, self._outer)) if outer else 0

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        if self._whole is not None:
            pixels = self._whole[index]
            return pixels.astype(pixels.dtype.newbyteorder("="))
        outer, inner = index[: len(self._outer)], index[len(self._outer) :]
        number = self._number(outer)
        # a page with several channels is requested once for each of them
        if self._last is None or self._last[0] != number:
            page = self._series[number]
            if page is None:
                raise ValueError(f"page {number} is missing")
            self._last = number, _pixels_of(page)
        return self._last[1][inner]


def _pixels_of(page: Any) -> np.ndarray:
    """The pixels of a page, which may lie in another, closed file of its OME-TIFF."""
    file = page.parent.filehandle
    if not file.closed:
        return page.asarray()
    file.open()
    try:
        return page.asarray()
    finally:
        file.close()


def promised_pages(tiff: tifffile.TiffFile) -> int:
    """How many pages the file should have, at least; if it has fewer, it was cut short."""
    if _next_page(tiff) >= tiff.filehandle.size:  # tifffile stops here without an error
        return len(tiff.pages) + 1
    page = tiff.pages[0]
    if len(tiff.pages) > 1 or page.compression != tifffile.COMPRESSION.NONE:
        return len(tiff.pages)
    # one page for all planes, as ImageJ writes above 4 GB; the metadata may be from another file
    room = (tiff.filehandle.size - page.dataoffsets[0]) // page.nbytes
    noted = 1
    if tiff.imagej_metadata:
        noted = int(tiff.imagej_metadata.get("images", 1))
    elif tiff.shaped_metadata:
        noted = math.prod(tiff.shaped_metadata[0].get("shape", ())) // math.prod(page.shape)
    return noted if room > 1 else 1


def _next_page(tiff: tifffile.TiffFile) -> int:
    """The offset of the next page according to the last readable one; 0: there is none."""
    layout, file = tiff.tiff, tiff.filehandle
    file.seek(tiff.pages[-1].offset)
    tags = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))[0]
    file.seek(tags * layout.tagsize, 1)
    return struct.unpack(layout.offsetformat, file.read(layout.offsetsize))[0]


def _check_whole(path: Path, tiff: tifffile.TiffFile, scenes: Sequence[Any]) -> None:
    found = math.prod(scenes[0].shape) // math.prod(scenes[0].keyframe.shape)
    if max(found, len(tiff.pages)) < promised_pages(tiff):
        raise InputError(
            f"{path}: cut short: holds {found} of {promised_pages(tiff)} or more pages; expected a "
            "whole TIFF file"
        )


def _scene_names(scenes: Sequence[Any]) -> list[str]:
    """The names in the metadata, or if these are not distinct, the shapes."""
    names = [str(scene.name or "") for scene in scenes]
    if len(set(names)) == len(names):
        return names
    return [" x ".join(map(str, scene.shape)) for scene in scenes]


def _named_axes(path: Path, axes: str, shape: tuple[int, ...]) -> str:
    # by position, since tifffile gives all unnamed axes the same letter
    named = list(axes)
    for number, (axis, length) in enumerate(zip(axes, shape, strict=True)):
        if axis in "TCZYXS":
            continue
        free = [name for name in "ZT" if name not in named]
        if not free:
            raise InputError(f"{path}: axis {axis} of length {length}; expected T, C, Z, Y, X")
        named[number] = free[0]
    return "".join(named)


def _tiff_channels(
    tiff: tifffile.TiffFile, pixels: ElementTree.Element | None, count: int
) -> tuple[str, ...]:
    names: list[str] = []
    if pixels is not None:
        names = [c.get("Name", "") for c in pixels.findall("{*}Channel")]
    elif tiff.imagej_metadata:
        names = _imagej_channels(tiff.imagej_metadata, count)
    return tuple(names) if len(names) == count else ("",) * count


def _imagej_channels(metadata: dict[str, Any], count: int) -> list[str]:
    """The labels of the first slices, if all slices of a channel have the same label."""
    labels = [str(label) for label in metadata.get("Labels") or []]
    names = labels[:count]
    same = all(label == names[i % count] for i, label in enumerate(labels)) if names else False
    return names if same and len(labels) % count == 0 and len(set(names)) == count else []
