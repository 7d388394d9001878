"""Files with channels, depths and times: TIFF by tifffile, other formats by bioio.

TIFF needs no more than tifffile, which reads the axes of OME, ImageJ and LSM itself. bioio and its
readers are an extra, ``pip install 'nucdet[formats]'``, and imported only when such a file is read.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from nucdet.data.io.choice import Choice, choose_channel, choose_number
from nucdet.errors import InputError

# endings and the packages that read them
BIOIO_READERS = {
    ".czi": "bioio_czi",
    ".nd2": "bioio_nd2",
    ".lif": "bioio_lif",
    ".dv": "bioio_dv",
    ".zarr": "bioio_ome_zarr",
}
# microscopes' formats that nothing here reads
FOREIGN_ENDINGS = (".svs", ".ndpi", ".vsi", ".oib", ".oif", ".mrxs", ".ims", ".scn", ".zvi")
_UM = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "\\u00b5m": 1.0, "mm": 1e3, "cm": 1e4}
_LEAST_UM, _MOST_UM = 1e-6, 1e6


class Stack(ABC):
    """A file's planes.

    Attributes:
        path: of the file.
        times, depths: lengths of the axes.
        channels: names, "" where unknown; ("",) of a grey or RGB image.
        pixel_size: µm, or None where the file does not say, or says nonsense.
    """

    path: Path
    times = 1
    depths = 1
    channels: tuple[str, ...] = ("",)
    pixel_size: float | None = None

    @abstractmethod
    def plane(self, time: int, channel: int, z: int) -> np.ndarray:
        """(H, W) or (H, W, 3) RGB as it is stored."""

    def read(self, choice: Choice) -> np.ndarray:
        """The chosen plane: (H, W) or (H, W, 3) RGB.

        Raises:
            InputError: the choice is unclear, or there is no such plane.
        """
        channel = choose_channel(self.path, self.channels, choice.channel)
        time = choose_number(self.path, "times", "--time K", self.times, choice.time)
        if isinstance(choice.z, str) and self.depths > 1:
            return self._projected(time, channel, choice.z)
        z = choose_number(self.path, "depths", "--z max, mean or K", self.depths, choice.z)  # type: ignore[arg-type]
        return self.plane(time, channel, z)

    def _projected(self, time: int, channel: int, how: str) -> np.ndarray:
        first = self.plane(time, channel, 0)
        result = first.copy() if how == "max" else first.astype(np.float64)
        for z in range(1, self.depths):
            plane = self.plane(time, channel, z)
            result = np.maximum(result, plane) if how == "max" else result + plane
        if how == "max":
            return result
        mean = result / self.depths
        # of the stored dtype, so that 8 bits stay 8 bits
        return (np.rint(mean) if first.dtype.kind in "ui" else mean).astype(first.dtype)


class TiffStack(Stack):
    """A TIFF whose axes are named by OME, ImageJ or tifffile; unnamed pages count as depths."""

    def __init__(self, path: Path):
        """
        Raises:
            InputError: an axis that has no meaning here.
        """
        self.path = path
        with tifffile.TiffFile(path) as tiff:
            # pyramids keep smaller copies of the image beside it
            series = [s for s in tiff.series if not s.keyframe.is_reduced]
            if len(series) != 1:
                raise InputError(
                    f"{path}: holds {len(series)} images of different kinds, expected one; "
                    "save each as a file of its own"
                )
            self._axes = _named_axes(path, series[0].axes, series[0].shape)
            self._pixels = series[0].asarray()
            length = dict(zip(self._axes, self._pixels.shape, strict=True))
            self._colour = "S" in length and series[0].keyframe.photometric.name in ("RGB", "YCBCR")
            if "S" in length and not self._colour:
                if "C" in length:
                    raise InputError(f"{path}: axes {series[0].axes}; expected one of channels")
                self._axes = self._axes.replace("S", "C")
                length = dict(zip(self._axes, self._pixels.shape, strict=True))
            self.times, self.depths = length.get("T", 1), length.get("Z", 1)
            self.channels = _tiff_channels(tiff, length.get("C", 1))
            self.pixel_size = tiff_pixel_size(tiff)

    def plane(self, time: int, channel: int, z: int) -> np.ndarray:
        place = {"T": time, "C": channel, "Z": z}
        pixels = self._pixels[tuple(place.get(axis, slice(None)) for axis in self._axes)]
        if not self._colour:
            return np.ascontiguousarray(pixels)
        left = [axis for axis in self._axes if axis not in place]
        return np.ascontiguousarray(np.moveaxis(pixels, left.index("S"), -1)[..., :3])


def _named_axes(path: Path, axes: str, shape: tuple[int, ...]) -> str:
    named = axes
    for axis, length in zip(axes, shape, strict=True):
        if axis in "TCZYXS":
            continue
        free = [name for name in "ZT" if name not in named]
        if not free:
            raise InputError(f"{path}: axis {axis} of length {length}; expected T, C, Z, Y, X")
        named = named.replace(axis, free[0])
    return named


def _tiff_channels(tiff: tifffile.TiffFile, count: int) -> tuple[str, ...]:
    names: list[str] = []
    if tiff.ome_metadata:
        pixels = _ome_pixels(tiff.ome_metadata)
        if pixels is not None:
            names = [c.get("Name", "") for c in pixels.findall("{*}Channel")]
    elif tiff.imagej_metadata and count == 1:
        names = [""]
    return tuple(names) if len(names) == count else ("",) * count


def _ome_pixels(text: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(text).find("{*}Image/{*}Pixels")
    except ElementTree.ParseError:
        return None


def tiff_pixel_size(tiff: tifffile.TiffFile) -> float | None:
    """µm, from OME's or ImageJ's notes; resolution tags alone are mostly a printer's."""
    if tiff.ome_metadata:
        pixels = _ome_pixels(tiff.ome_metadata)
        if pixels is None:
            return None
        sides = []
        for side in "XY":
            factor = _UM.get(pixels.get(f"PhysicalSize{side}Unit", "µm").lower())
            value = pixels.get(f"PhysicalSize{side}")
            sides.append(float(value) * factor if value and factor else None)
        return sane_pixel_size(*sides)
    if tiff.imagej_metadata:
        factor = _UM.get(str(tiff.imagej_metadata.get("unit", "")).lower())
        if factor:
            return sane_pixel_size(*(factor / r if r else None for r in tiff.pages[0].resolution))
    return None


def sane_pixel_size(x: float | None, y: float | None) -> float | None:
    """The side of a square pixel in µm; None where it is not square or no microscope's."""
    if x is None or y is None or not all(_LEAST_UM <= v <= _MOST_UM for v in (x, y)):
        return None
    return float(x) if math.isclose(x, y, rel_tol=0.01) else None


class BioioStack(Stack):
    """A file that one of bioio's readers opens; its first scene where it has one."""

    def __init__(self, path: Path):
        """
        Raises:
            InputError: the reader is not installed, the file is damaged or has several scenes.
        """
        self.path = path
        name = BIOIO_READERS[path.suffix.lower()]
        try:
            reader = import_module(name).Reader
            bio_image = import_module("bioio").BioImage
        except ImportError as error:
            raise InputError(
                f"{path}: reading {path.suffix} needs the package {name.replace('_', '-')} "
                f"({error}); pip install 'nucdet[formats]'"
            ) from None
        # readers of damaged files raise nearly anything
        try:
            image = bio_image(path, reader=reader)
            scenes = list(image.scenes)
            dims = image.dims
            self._image: Any = image
            self.times, self.depths = int(dims.T), int(dims.Z)
            self._colour = "S" in dims.order
            self.channels = tuple(image.channel_names or [""] * int(dims.C))
            sizes = image.physical_pixel_sizes
        except Exception as error:
            raise InputError(f"{path}: cannot be read ({error}); expected a whole file") from error
        self.pixel_size = sane_pixel_size(sizes.X, sizes.Y)
        if len(scenes) > 1:
            raise InputError(
                f"{path}: holds {len(scenes)} images ({', '.join(scenes[:5])} …), expected one; "
                "export each as OME-TIFF"
            )

    def plane(self, time: int, channel: int, z: int) -> np.ndarray:
        order = "YXS" if self._colour else "YX"
        try:
            pixels = self._image.get_image_dask_data(order, T=time, C=channel, Z=z).compute()
        except Exception as error:
            raise InputError(f"{self.path}: damaged ({error}); expected a whole file") from error
        return np.ascontiguousarray(pixels[..., :3] if self._colour else pixels)


def needs_bioio(path: Path) -> bool:
    """Whether the ending is that of a format that bioio reads.

    Raises:
        InputError: the ending is that of a microscope's format that cannot be read.
    """
    if path.suffix.lower() in FOREIGN_ENDINGS:
        raise InputError(
            f"{path}: {path.suffix} files are not read; export the image as OME-TIFF, for example "
            "with Fiji's Bio-Formats or QuPath"
        )
    return path.suffix.lower() in BIOIO_READERS
