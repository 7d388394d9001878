"""Reads label maps, also those of other tools.

A label map contains 0 for background and another number for each nucleus. For a stack or a time
series, a file may contain one label map, or one for each plane.
"""

from __future__ import annotations

import os
import pickle
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from nucdet.data.io.choice import Place
from nucdet.data.io.reading import read_file
from nucdet.errors import InputError

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
_EXPECTED = (
    "expected a label map: one channel of 8, 16 or 32-bit integers, 0 for background and another "
    "number for each nucleus"
)


def read_label_map(
    path: str | os.PathLike[str],
    image_size: tuple[int, int] | None = None,
    place: Place | None = None,
    stack_size: tuple[int, int] = (1, 1),
) -> np.ndarray:
    """Read a label map.

    Args:
        path: PNG (grey or palette, whose indices are the labels), TIFF of integers or of floats
            that are whole numbers, npy array, or cellpose's ``_seg.npy``.
        image_size: (height, width) that it must have; None: any.
        place: position of the plane that was read from the image's file; None: the only one.
        stack_size: numbers of times and depths of the image's file. If this file has label maps for
            all of them, in the order (times, depths, H, W), that of ``place`` is taken.

    Returns:
        int32 (H, W) with the labels of the file; if one of them exceeds int32, all are renumbered
        from 1 in their order.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not a label map: damaged, in color, with several planes that are not those
            of the image, fractions or negative numbers, or of another size; or it has label maps
            for all depths, and ``place`` is a projection of them.
    """
    path = Path(path)
    values = np.asarray(_read(path))
    while values.ndim > 2 and 1 in values.shape:
        values = values.squeeze(axis=values.shape.index(1))
    if place is not None:
        values = _plane(path, values, place, stack_size)
    _check(path, values, image_size)
    if values.size and values.max() > np.iinfo(np.int32).max:
        found, ranks = np.unique(values, return_inverse=True)
        values = ranks.reshape(values.shape) + (found[0] != 0)
    return values.astype(np.int32)


def _plane(path: Path, values: np.ndarray, place: Place, stack_size: tuple[int, int]) -> np.ndarray:
    """The label map of a plane, if there is one for each plane of the image; else all values."""
    is_projected = isinstance(place.z, str)
    times, depths = stack_size
    axes = [(place.time, times), (place.z, 1 if is_projected else depths)]
    several = [(index, length) for index, length in axes if length > 1]
    found = values.shape[:-2]
    if several and found == tuple(length for _, length in several):
        return values[tuple(index for index, _ in several)]
    if is_projected and found in ((depths,), stack_size):
        raise InputError(
            f"{path}: a label map for each of {depths} depths, of which --z {place.z} makes one "
            "image; expected one label map for it, or choose a depth with --z K"
        )
    return values


def _check(path: Path, values: np.ndarray, image_size: tuple[int, int] | None) -> None:
    if values.ndim == 3 and values.shape[2] in (3, 4):
        raise InputError(f"{path}: in color ({values.shape[2]} channels); {_EXPECTED}")
    if values.ndim != 2 or values.dtype.kind not in "buif" or not values.size:
        raise InputError(
            f"{path}: found an array of shape {values.shape} of {values.dtype}; {_EXPECTED}"
        )
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        raise InputError(f"{path}: found values that are no whole numbers; {_EXPECTED}")
    if values.dtype.kind in "if" and values.min() < 0:
        raise InputError(f"{path}: found the label {values.min():.0f}; {_EXPECTED}")
    if image_size is not None and values.shape != tuple(image_size):
        found, expected = (f"{h}x{w}" for h, w in (values.shape, image_size))
        raise InputError(
            f"{path}: {found} pixels (height x width), but its image has {expected}; save the "
            "labels in the image's size"
        )


def _read(path: Path) -> Any:
    """The stored values, of any shape and type."""
    data = read_file(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return _read_npy(data)
        if suffix in (".tif", ".tiff"):
            return tifffile.imread(BytesIO(data))
        return _read_picture(data)
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that can be read; {_EXPECTED}") from None
    # for damaged files, decoders may raise nearly anything
    except Exception as error:
        raise InputError(f"{path}: damaged or cut short ({error}); {_EXPECTED}") from error


def _read_picture(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(BytesIO(data)) as image:
            # the indices of a palette are the labels, its colors are only for display
            return np.array(image)
    except Image.DecompressionBombError:
        # Pillow refuses more than 179 megapixels as a possible attack; OpenCV reads them
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _read_npy(data: bytes) -> np.ndarray:
    """An array, or the "masks" of the dict that cellpose saves."""
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        dtype = np.lib.format.read_array_header_1_0(file)[2]
    else:
        dtype = np.lib.format.read_array_header_2_0(file)[2]
    if not dtype.hasobject:
        return np.load(BytesIO(data), allow_pickle=False)
    content = _ArraysOnly(file).load()
    if isinstance(content, np.ndarray) and content.ndim == 0:
        content = content.item()
    if not isinstance(content, dict) or "masks" not in content:
        raise ValueError("no array and no dict with 'masks' as cellpose writes it")
    return content["masks"]


class _ArraysOnly(pickle.Unpickler):
    """Loads only arrays, numbers and containers of them, so that a data file cannot run code."""

    _HARMLESS = (
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
        ("collections", "OrderedDict"),
    )

    def find_class(self, module: str, name: str) -> Any:
        # numpy 1 has this package under the name core
        module = module.replace("numpy.core.", "numpy._core.")
        if module.startswith("pathlib"):
            # the path of the image, which may come from another operating system
            return PurePosixPath
        if (module, name) not in self._HARMLESS:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array")
        return super().find_class(module, name)
