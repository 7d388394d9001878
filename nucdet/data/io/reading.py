"""Reads microscopy images, with one reader for conversion, training and prediction.

What a network sees must not depend on the tool that opened the file, so all code reads images with
:func:`read_image`. Its rules:

- Values of any depth become 8 bits by a rule of :mod:`nucdet.data.io.normalization`.
- Grey becomes three equal channels; alpha is dropped, not blended (in DSB2018 it is 255
  everywhere); palettes are resolved; 1-bit values become 0 and 255.
- The EXIF orientation is ignored: masks are drawn on the pixels as stored.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from nucdet.data.io.normalization import normalized
from nucdet.data.io.sparse_png import decode_window
from nucdet.errors import InputError

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GREY_ALPHA = 4  # color type in the header of a PNG
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FORMATS = "PNG, TIFF, JPEG or BMP"


def read_image(path: str | os.PathLike[str], normalize: str = "none") -> np.ndarray:
    """Read an image file in the form that networks expect.

    Args:
        path: a PNG, TIFF, JPEG, BMP or other file that Pillow reads; the content decides, not the
            suffix.
        normalize: INPUT.NORMALIZE, how stored values become 8 bits.

    Returns:
        uint8 array (H, W, 3) in RGB order.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: not an image, damaged, cut short, several pages, or a layout
            that has no meaning as RGB (e.g. 5 channels).
    """
    return normalized(decode_image(path), normalize)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file; reading a pipe or a device might never end.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is a folder, a pipe, a socket or a device.
    """
    path = Path(path)
    _check_regular(path)
    return path.read_bytes()


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file (folder, pipe or device); remove it")


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Whether the file's first bytes are those of a TIFF.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is a folder, a pipe, a socket or a device.
    """
    _check_regular(Path(path))
    with Path(path).open("rb") as file:
        return file.read(4) in _TIFF


def decode_image(path: str | os.PathLike[str]) -> np.ndarray:
    """The stored values without alpha: (H, W) or (H, W, 3) RGB, of the stored dtype.

    Raises:
        FileNotFoundError, InputError: as :func:`read_image`.
    """
    return _decode(Path(path))


def check_pixels(image: np.ndarray, name: str = "the image") -> np.ndarray:
    """Check an array from any source and convert it to the form of :func:`decode_image`.

    Alpha and the axis of a single channel are removed.

    Args:
        image: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA; bool, integers or floats.
        name: of the image in errors.

    Raises:
        InputError: another shape or dtype, or no pixels.
    """
    try:
        image = np.asarray(image)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name}: no array of pixels ({error})") from None
    if image.dtype.kind not in "buif" or not image.size:
        raise InputError(
            f"{name}: found {image.shape} of {image.dtype}; expected at least one pixel of bool, "
            "integers or floats"
        )
    if image.ndim == 2:
        return image
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise InputError(
            f"{name}: found shape {image.shape}; expected (H, W) or (H, W, channels) with 1, 3 "
            "(RGB) or 4 (RGBA) channels; choose a channel or move the channels to the end"
        )
    return image[..., 0] if image.shape[2] == 1 else image[..., :3]


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a mask file: bool array (H, W), True where any color channel is nonzero.

    Raises:
        FileNotFoundError, InputError: as :func:`read_image`.
    """
    pixels = _decode(Path(path))
    return pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0


def read_mask_window(
    path: str | os.PathLike[str],
) -> tuple[tuple[int, int], np.ndarray, tuple[int, int]]:
    """Read only the tight window of a mask file: several times faster if most of it is zero.

    Returns:
        (y0, x0) of the window, the window, bool (h, w), of size (0, 0) if the mask is all zero, and
        (H, W) of the file.

    Raises:
        FileNotFoundError, InputError: as :func:`read_image`.
    """
    (y0, x0), window, size = decode_window(read_file(path)) or ((0, 0), None, None)
    if window is None:
        window = read_mask(path).view(np.uint8)
        size = window.shape
    x, y, width, height = cv2.boundingRect(window) if window.size else (0, 0, 0, 0)
    return (y0 + y, x0 + x), window[y : y + height, x : x + width] != 0, size


def _decode(path: Path) -> np.ndarray:
    """See :func:`decode_image`."""
    data = read_file(path)
    if not data:
        raise InputError(f"{path}: the file is empty; expected {_FORMATS}")
    try:
        if data.startswith(_PNG):
            return _decode_png(data)
        if data.startswith(_TIFF):
            return _decode_tiff(path, data)
        return _decode_other(path, data)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that can be read; expected {_FORMATS}") from None
    # for damaged files, decoders may raise nearly anything
    except Exception as error:
        raise damaged(path, error, _FORMATS) from error


def damaged(path: Path, error: Exception, formats: str = "TIFF") -> InputError:
    """The error to raise for a file of one of these formats that a decoder could not read."""
    return InputError(f"{path}: damaged or cut short ({error}); expected a whole {formats} file")


# OpenCV 5 moved it, and gave the levels names
_set_log_level = cv2.utils.logging.setLogLevel if hasattr(cv2.utils, "logging") else cv2.setLogLevel
_ERRORS_ONLY = 2


def _decode_png(data: bytes) -> np.ndarray:
    # OpenCV's warning about a truncated file does not name the file; our error does
    before = _set_log_level(_ERRORS_ONLY)
    try:
        # Pillow would reduce 16-bit color to 8 bits; OpenCV is also faster
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        _set_log_level(before)
    if pixels is None:
        raise ValueError("the PNG data does not decode")
    if pixels.ndim == 2:
        return pixels
    if data[25] == _PNG_GREY_ALPHA:  # OpenCV converts it to color
        return np.ascontiguousarray(pixels[..., 0])
    return cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2RGB)


def _decode_other(path: Path, data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        _check_single(path, getattr(image, "n_frames", 1))
        if image.mode.startswith(("I", "F")):  # more than 8 bits
            return np.array(image)
        # drops alpha without blending and resolves palettes
        return np.array(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _decode_tiff(path: Path, data: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        # pyramids also contain smaller copies of the image
        pages = [p for p in tiff.pages if not p.keyframe.is_reduced]
        if not pages:  # as a program leaves it that crashed before it wrote the first one
            raise ValueError("it holds no image")
        _check_single(path, len(pages))
        chosen = pages[0]
        pixels, layout = chosen.asarray(), chosen.keyframe
        if layout.axes == "SYX":  # one plane per channel
            pixels = np.moveaxis(pixels, 0, -1)
        elif layout.axes not in ("YX", "YXS"):
            raise InputError(
                f"{path}: a TIFF page with axes {layout.axes} {pixels.shape}; expected one plane "
                "of grey or RGB; write the planes as pages of their own"
            )
        return tiff_colors(path, pixels, layout)


def tiff_colors(path: Path, pixels: np.ndarray, layout: Any) -> np.ndarray:
    """Convert a TIFF page of any photometric interpretation to grey or RGB.

    Grey values are not changed, even if the file says that 0 is white: ImageJ sets this for images
    that are displayed inverted, and measurements must not depend on how an image was displayed.
    """
    photometric = tifffile.PHOTOMETRIC
    if layout.photometric == photometric.PALETTE:
        # color maps hold 16-bit values; 8-bit images are written as value * 257
        return (np.moveaxis(layout.colormap[:, pixels], 0, -1) >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return pixels
    channels = color_samples(layout, pixels.shape[2])
    is_foreign = layout.photometric in (
        photometric.SEPARATED,
        photometric.CIELAB,
        photometric.ICCLAB,
        photometric.ITULAB,
    ) or (layout.photometric == photometric.YCBCR and "JP" not in layout.compression.name)
    if channels not in (1, 3) or is_foreign:  # of YCbCr, only JPEG's decoders make RGB
        raise InputError(
            f"{path}: {pixels.shape[2]} channels ({layout.photometric.name}); expected grey or RGB,"
            " with or without alpha; export the image as RGB"
        )
    return pixels[..., 0] if channels == 1 else pixels[..., :3]


def color_samples(layout: Any, samples: int) -> int:
    """How many of the samples per pixel of a TIFF page are colors: all but alpha.

    An extra sample of unspecified meaning is taken as alpha with RGB, and as a second stain with
    grey.
    """
    has_alpha = len(layout.extrasamples) == 1 and (
        layout.extrasamples[0] != tifffile.EXTRASAMPLE.UNSPECIFIED or samples == 4
    )
    return samples - 1 if has_alpha else samples


def _check_single(path: Path, pages: int) -> None:
    if pages != 1:
        raise InputError(
            f"{path}: holds {pages} pages, expected one image; save the plane that shows the "
            "nuclei as a file of its own"
        )
