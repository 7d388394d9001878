"""Opens image files plane by plane, for prediction and for the conversion of users' data.

A file with scenes, channels, depths and times gives the planes that are chosen, any other file its
single image. Each plane is an :class:`ImageWindows` that can also read the other channels.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import copy
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from nucdet.data.io.bioio_stacks import BioioStack, needs_bioio
from nucdet.data.io.choice import (
    Choice,
    Place,
    choose_channel,
    choose_color,
    choose_depths,
    choose_times,
)
from nucdet.data.io.normalization import Box
from nucdet.data.io.pixel_size import tiff_pixel_size
from nucdet.data.io.reading import damaged, decode_image, is_tiff
from nucdet.data.io.stacks import Stack, TiffStack, promised_pages
from nucdet.data.io.windows import (
    ImageWindows,
    OneColor,
    TiffWindows,
    is_grey_or_rgb,
    is_large,
)
from nucdet.errors import InputError


class Planes(Sequence[ImageWindows]):
    """The chosen planes of a file, ordered by time, then depth, each read on demand.

    Attributes:
        places: their positions in the file.
        axes: the axes with several planes: "", "T", "Z" or "TZ".
        lengths: of these axes.
        is_whole: whether they comprise all times and depths of the file.
        z_step: the distance of two depths, µm, or None.
    """

    def __init__(
        self,
        times: Sequence[int],
        depths: Sequence[int | str],
        open_place: Callable[[Place], ImageWindows],
        is_whole: bool = True,
        z_step: float | None = None,
    ):
        """
        Args:
            times, depths: indices of the planes.
            open_place: opens the plane at a position.
            is_whole, z_step: see the attributes.
        """
        self.is_whole, self.z_step = is_whole, z_step
        self.places = [Place(time, z) for time, z in product(times, depths)]
        several = [(a, len(of)) for a, of in (("T", times), ("Z", depths)) if len(of) > 1]
        self.axes = "".join(axis for axis, _ in several)
        self.lengths = tuple(length for _, length in several)
        self._open = open_place

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> ImageWindows:
        return self.at(self.places[number])

    def at(self, place: Place) -> ImageWindows:
        """Open the plane at one of the :attr:`places`."""
        return self._open(place)

    def opened_by(self, open_place: Callable[[Place], ImageWindows]) -> Planes:
        """The same planes, opened by another function."""
        planes = copy(self)
        planes._open = open_place
        return planes


class StackPlane(ImageWindows):
    """One channel of a plane of a stack."""

    is_whole_file = False

    def __init__(self, stack: Stack, channel: int, place: Place, normalize: str = "none"):
        """
        Args:
            stack: the file.
            channel: index from 0.
            place: position of the plane.
            normalize: INPUT.NORMALIZE, how stored values become 8 bits.

        Raises:
            InputError: the file is damaged there.
        """
        super().__init__(stack.read(channel, place), str(stack.path), normalize)
        self.pixel_size, self.place = stack.pixel_size, place
        self.stack_size = (stack.times, stack.depths)
        self._stack = stack
        if not stack.is_color:
            self.channel_names = distinct_names(stack.channels)

    def channel_reader(self) -> Callable[[Box], np.ndarray]:
        if self._stack.is_color:
            return super().channel_reader()
        planes: list[np.ndarray] = []

        def read(box: Box) -> np.ndarray:
            if not planes:  # read at the first call, and kept as long as this function
                numbers = range(len(self.channel_names))
                planes.extend(self._stack.read(number, self.place) for number in numbers)
            return np.stack([plane[box] for plane in planes])

        return read


class LargePlane(TiffWindows):
    """One channel of a plane of a TIFF, whose pages are read by windows."""

    is_whole_file = False

    def __init__(self, stack: TiffStack, channel: int, place: Place, normalize: str = "none"):
        """
        Args:
            stack: the file, for which :func:`has_large_pages` is true.
            channel, place, normalize: see :class:`StackPlane`.

        Raises:
            InputError: the file is damaged there.
        """
        numbers = range(len(stack.channels))
        self._pages = [stack.page(place.time, number, place.z) for number in numbers]
        super().__init__(stack.path, self._pages[channel], normalize)
        self.pixel_size, self.place = stack.pixel_size, place
        self.stack_size = (stack.times, stack.depths)
        self.channel_names = distinct_names(stack.channels)

    def channel_reader(self) -> Callable[[Box], np.ndarray]:
        share = len(self._pages)
        every = [TiffWindows(self._path, page, "none", share) for page in self._pages]
        return lambda box: np.stack([windows.values(box) for windows in every])


def has_large_pages(stack: Stack, place: Place) -> bool:
    """Whether all channels of a plane should be, and can be, read by windows."""
    if not isinstance(stack, TiffStack) or not stack.is_large or isinstance(place.z, str):
        return False
    pages = (stack.page(place.time, number, place.z) for number in range(len(stack.channels)))
    return all(page is not None for page in pages)


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Distinct names of channels for the columns of a table; numbered if names are not enough.

    Args:
        names: "" if unknown; a single channel gets the name "".
    """
    if len(names) == 1:
        return ("",)
    names = [" ".join(name.split()) for name in names]
    columns = _columns(names)
    numbered = [f"{name} {number}".strip() for number, name in enumerate(names)]
    distinct = [
        name if name and columns.count(column) == 1 else with_number
        for name, column, with_number in zip(names, columns, numbered, strict=True)
    ]
    return tuple(distinct if len({*_columns(distinct)}) == len(names) else numbered)


def _columns(names: Sequence[str]) -> list[str]:
    """As column names of a table: underscores instead of spaces, case ignored."""
    return [name.casefold().replace(" ", "_") for name in names]


def open_planes(
    path: str | os.PathLike[str], choice: Choice | None = None, normalize: str = "none"
) -> Planes:
    """Open an image file to read windows of its planes.

    Args:
        path: a PNG, TIFF, JPEG or other file that Pillow reads, regardless of its suffix; or one
            that bioio reads, recognised by its suffix.
        choice: of planes, for a file with several; ignored for a file with one.
        normalize: INPUT.NORMALIZE, how stored values become 8 bits.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: a format or a layout that cannot be read, a damaged file, several planes,
            channels or scenes of which none is chosen, or a choice that does not exist.
    """
    path, choice = Path(path), choice or Choice()
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if needs_bioio(path):
        return _of_stack(BioioStack(path, choice.scene), choice, normalize)
    tiff = _inspect_tiff(path) if is_tiff(path) else _Tiff()
    if tiff.has_several:
        return _of_stack(_tiff_stack(path, choice.scene), choice, normalize)
    if tiff.large_page is not None:
        source: ImageWindows = TiffWindows(path, tiff.large_page, normalize)
    else:
        source = ImageWindows(decode_image(path), str(path), normalize)
    source.pixel_size = tiff.pixel_size
    image = _in_color(path, source, choice, normalize)
    return Planes([0], [0], lambda place: image)


def open_windows(
    path: str | os.PathLike[str], choice: Choice | None = None, normalize: str = "none"
) -> ImageWindows:
    """As :func:`open_planes`, for a single plane.

    Raises:
        FileNotFoundError, InputError: see :func:`open_planes`, or several planes are chosen.
    """
    planes = open_planes(path, choice, normalize)
    if len(planes) > 1:
        raise InputError(f"{path}: holds {len(planes)} planes; choose one")
    return planes[0]


class _Tiff(NamedTuple):
    """The layout of a TIFF, see :func:`_inspect_tiff`.

    Attributes:
        has_several: whether there are several planes or channels.
        large_page: the only page, if it should be read by windows.
        pixel_size: µm, or None.
    """

    has_several: bool = False
    large_page: tifffile.TiffPage | None = None
    pixel_size: float | None = None


def _inspect_tiff(path: Path) -> _Tiff:
    with ExitStack() as opened:
        try:
            tiff = opened.enter_context(tifffile.TiffFile(path))
            pages = [p for p in tiff.pages if not p.keyframe.is_reduced]
            # ImageJ's large files have one page for all planes
            has_several = max(len(pages), promised_pages(tiff)) > 1 or not is_grey_or_rgb(pages[0])
            pixel_size = tiff_pixel_size(tiff)
            if has_several or not is_large(pages[0]):
                return _Tiff(has_several, None, pixel_size)
            opened.pop_all()  # keep the file open, since windows of the page are read from it
            return _Tiff(False, pages[0], pixel_size)
        except Exception:  # the ordinary reader will report what is wrong
            return _Tiff()


def _of_stack(stack: Stack, choice: Choice, normalize: str) -> Planes:
    channel = choose_channel(stack.path, stack.channels, choice.channel)
    times = choose_times(stack.path, stack.times, choice)
    depths = choose_depths(stack.path, stack.depths, choice)

    def open_place(place: Place) -> ImageWindows:
        kind = LargePlane if has_large_pages(stack, place) else StackPlane
        plane = kind(stack, channel, place, normalize)
        # of several RGB channels, the choice is one of these and not one of the colors
        if not stack.is_color or len(stack.channels) > 1:
            return plane
        return _in_color(stack.path, plane, choice, normalize)

    is_whole = (len(times), len(depths)) == (stack.times, stack.depths)
    return Planes(times, depths, open_place, is_whole, stack.z_step)


def _in_color(path: Path, source: ImageWindows, choice: Choice, normalize: str) -> ImageWindows:
    """The image, or one of its colors; grey images ignore the choice."""
    if not source.is_color:
        return source
    color = choose_color(path, choice.channel)
    return source if color is None else OneColor(source, color, normalize)


def _tiff_stack(path: Path, scene: int | str | None) -> TiffStack:
    try:
        return TiffStack(path, scene)
    except InputError:
        raise
    # for damaged files, decoders may raise nearly anything
    except Exception as error:
        raise damaged(path, error) from error
