"""Reads images by windows, so that they may be larger than the memory.

TIFF files are read from the disk window by window; other formats must be decoded as a whole. The
pixels of a window do not depend on how it is read: the rules are those of
:mod:`nucdet.data.io.reading` and :mod:`nucdet.data.io.normalization`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import tifffile

from nucdet.data.io.choice import Place
from nucdet.data.io.normalization import (
    WHOLE_PIXELS,
    Box,
    intensity_limits,
    limits_of_windows,
    sample_boxes,
    to_rgb8,
)
from nucdet.data.io.reading import check_pixels, color_samples, damaged, tiff_colors

_CACHE_BYTES = 1 << 28  # for decoded strips or tiles of a file
RGB = ("r", "g", "b")  # the names of the channels of a color image


class ImageWindows:
    """An image that can be read by windows; this class holds it in memory.

    Attributes:
        size: (height, width).
        pixel_size: µm according to the file, or None.
        place: position of the plane in its file.
        channel_names: for the columns of tables; ("",) for a single channel.
        is_whole_file: whether the file contains only these pixels, so that
            :func:`nucdet.data.io.reading.read_image` reads the same.
        stack_size: numbers of times and depths of the file.
    """

    pixel_size: float | None = None
    place = Place()
    channel_names: tuple[str, ...] = ("",)
    is_whole_file = True
    stack_size = (1, 1)

    def __init__(self, image: np.ndarray, name: str = "the image", normalize: str = "none"):
        """
        Args:
            image: see :func:`nucdet.data.io.reading.check_pixels`.
            name: of the image in errors.
            normalize: INPUT.NORMALIZE, how stored values become 8 bits.
        """
        self._pixels = check_pixels(image, name)
        self.size: tuple[int, int] = self._pixels.shape[:2]
        self._limits = intensity_limits(self._pixels, normalize)
        if self.is_color:
            self.channel_names = RGB

    @property
    def is_color(self) -> bool:
        """Whether :meth:`values` are RGB."""
        return self._pixels.ndim == 3

    def values(self, box: Box) -> np.ndarray:
        """The stored values in a window: (h, w) or (h, w, 3), of the stored dtype."""
        return self._pixels[box]

    def read(self, box: Box) -> np.ndarray:
        """A window as a network sees it: uint8 (h, w, 3) RGB, scaled like the whole image."""
        return to_rgb8(self.values(box), self._limits)

    def whole(self) -> Box:
        """The window that is the whole image."""
        return slice(0, self.size[0]), slice(0, self.size[1])

    def channel_reader(self) -> Callable[[Box], np.ndarray]:
        """A function that reads the stored values of all channels in a window, (C, h, w).

        It may cache what it has read, so do not keep it longer than needed.
        """

        def read(box: Box) -> np.ndarray:
            values = self.values(box)
            return values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)

        return read


class TiffWindows(ImageWindows):
    """A TIFF page on the disk, of which strips or tiles are decoded on demand."""

    def __init__(
        self, path: Path, page: tifffile.TiffPage, normalize: str = "none", share: int = 1
    ):
        """
        Args:
            path: of the file.
            page: a page of it.
            normalize: INPUT.NORMALIZE, how stored values become 8 bits.
            share: number of pages that share the memory for decoded segments.
        """
        # no super().__init__, as no pixels are held in memory
        self._path, self._page = path, page
        self.size = (page.imagelength, page.imagewidth)
        self._samples = page.samplesperpixel
        if not page.is_memmappable:
            height, width = self._segment_size()
            segment_bytes = height * width * self._samples * page.dtype.itemsize
            remembered = max(1, _CACHE_BYTES // share // segment_bytes)
            # not a method, which would keep this object, and the memory, until the next collection
            self._segment = lru_cache(remembered)(partial(_decoded_segment, page))
        self._color = self.values(np.s_[0:1, 0:1]).ndim == 3
        if self._color:
            self.channel_names = RGB
        self._limits = _sampled_limits(self, page.dtype, normalize)

    @property
    def is_color(self) -> bool:
        return self._color

    def values(self, box: Box) -> np.ndarray:
        """See :meth:`ImageWindows.values`.

        Raises:
            InputError: this part of the file is damaged.
        """
        rows, columns = box
        try:
            fetch = self._read_rows if self._page.is_memmappable else self._decode_segments
            pixels = fetch(rows.start, rows.stop, columns.start, columns.stop)
        # for damaged files, decoders may raise nearly anything
        except Exception as error:
            raise damaged(self._path, error) from error
        return tiff_colors(self._path, pixels, self._page)

    def _empty(self, height: int, width: int) -> np.ndarray:
        shape = (height, width) if self._samples == 1 else (height, width, self._samples)
        return np.zeros(shape, self._page.dtype)

    def _read_rows(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """For uncompressed data: read the bytes of the window, row by row."""
        tiff = self._page.parent
        stored = self._page.dtype.newbyteorder(tiff.byteorder)
        pixel = stored.itemsize * self._samples
        result = self._empty(y1 - y0, x1 - x0).astype(stored)
        for row in range(y0, y1):
            tiff.filehandle.seek(self._page.dataoffsets[0] + (row * self.size[1] + x0) * pixel)
            row_bytes = result[row - y0].reshape(-1).view(np.uint8)
            if tiff.filehandle.readinto(row_bytes) < row_bytes.size:
                raise ValueError(f"row {row} is missing")
        return result.astype(self._page.dtype, copy=False)

    def _segment_size(self) -> tuple[int, int]:
        page = self._page
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        return min(page.rowsperstrip, page.imagelength), page.imagewidth

    def _decode_segments(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        height, width = self._segment_size()
        across = -(-self.size[1] // width)
        result = self._empty(y1 - y0, x1 - x0)
        for i in range(y0 // height, -(-y1 // height)):
            for j in range(x0 // width, -(-x1 // width)):
                segment = self._segment(i * across + j)
                if segment is None:  # not stored in the file: all zero
                    continue
                top, left = i * height, j * width
                inside = segment[max(0, y0 - top) : y1 - top, max(0, x0 - left) : x1 - left]
                y, x = max(top, y0) - y0, max(left, x0) - x0
                result[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return result


def _decoded_segment(page: tifffile.TiffPage, index: int) -> np.ndarray | None:
    """A strip or tile, (h, w) or (h, w, samples); None if the file does not store it."""
    file = page.parent.filehandle
    file.seek(page.dataoffsets[index])
    data = file.read(page.databytecounts[index])
    pixels, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
    if pixels is None:
        return None
    pixels = pixels[0, : shape[1], : shape[2]]
    return pixels[..., 0] if page.samplesperpixel == 1 else pixels


class OneColor(ImageWindows):
    """One color of an RGB image for the network; measurements use all colors."""

    is_whole_file = False

    def __init__(self, image: ImageWindows, color: int, normalize: str = "none"):
        """
        Args:
            image: an RGB image.
            color: 0 red, 1 green, 2 blue.
            normalize: INPUT.NORMALIZE, how stored values become 8 bits.
        """
        # no super().__init__, as `image` holds the pixels
        self._image, self._color = image, color
        self.size, self.pixel_size, self.place = image.size, image.pixel_size, image.place
        self.channel_names, self.channel_reader = image.channel_names, image.channel_reader
        self.stack_size = image.stack_size
        self._limits = _sampled_limits(self, self.values(np.s_[0:1, 0:1]).dtype, normalize)

    @property
    def is_color(self) -> bool:
        return False

    def values(self, box: Box) -> np.ndarray:
        return self._image.values(box)[..., self._color]


def _sampled_limits(
    source: ImageWindows, dtype: np.dtype, normalize: str
) -> tuple[float, float] | None:
    if normalize == "none" and dtype in (np.uint8, bool):
        return None
    windows = [source.values(box) for box in sample_boxes(source.size)]
    return limits_of_windows(windows, source.size[0] * source.size[1], normalize)


def is_grey_or_rgb(page: tifffile.TiffPage) -> bool:
    """Whether the samples of a pixel are grey or RGB, not channels of several stains."""
    return color_samples(page, page.samplesperpixel) in (1, 3)


def is_large(page: tifffile.TiffPage) -> bool:
    """Whether a page should be, and can be, read by windows."""
    plain = page.axes in ("YX", "YXS") and page.bitspersample in (8, 16, 32, 64)
    return plain and page.imagelength * page.imagewidth > WHOLE_PIXELS
