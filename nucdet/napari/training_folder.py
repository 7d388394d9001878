"""A folder of training data: ``images/`` and ``labels/`` with matching file names.

:func:`nucdet.data.conversion.labels.convert_labels` reads this layout.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile

from nucdet.data.conversion.label_files import ENDINGS_WITH_A_MEANING, find_images
from nucdet.data.io.reading import check_pixels, decode_image
from nucdet.errors import InputError
from nucdet.files import write_atomically
from nucdet.napari.segmentation import check_sizes

IMAGES, LABELS = "images", "labels"


def save_pair(folder: Path, name: str, image: np.ndarray, labels: np.ndarray) -> Path:
    """Add an image with its label map; if the image is already there, replace its label map.

    Args:
        folder: the folder of training data; created if missing.
        name: name of the image; characters that are unsafe in file names become "_". A number is
            appended if the folder contains another image with that name.
        image: (H, W) or (H, W, 3) RGB, any dtype; values are kept, but bool becomes 0 and 255.
        labels: (H, W) integers, 0 for background.

    Returns:
        The path of the image, a TIFF.

    Raises:
        InputError: ``image`` is not a valid image, or ``labels`` have a different size.
        OSError: the folder cannot be written to.
    """
    image = check_pixels(image, name)
    check_sizes(labels, image)
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    image_file = _place(folder / IMAGES, _file_stem(name), image)
    dtype = np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32
    _write(folder / LABELS / image_file.name, labels.astype(dtype))
    if not image_file.exists():
        _write(image_file, image)
    return image_file


def count_pairs(folder: Path) -> int:
    """The number of images in a training folder, 0 if it does not exist."""
    try:
        return len(find_images(folder / IMAGES)[0])
    except (FileNotFoundError, InputError):
        return 0


def _file_stem(name: str) -> str:
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._") or "image"
    # with such an ending, the converter would not recognize the file as an image
    return f"{stem}_image" if stem.endswith(ENDINGS_WITH_A_MEANING) else stem


def _place(folder: Path, stem: str, image: np.ndarray) -> Path:
    """The path of the file with this image or, if there is none, an unused path with its name."""
    number, path = 1, folder / f"{stem}.tif"
    # NaN marks missing pixels, and is the same at the same place
    while path.exists() and not np.array_equal(decode_image(path), image, equal_nan=True):
        number += 1
        path = folder / f"{stem}_{number}.tif"
    return path


def _write(path: Path, pixels: np.ndarray) -> None:
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    with write_atomically(path) as temporary:
        tifffile.imwrite(temporary, pixels, photometric=kind, compression="zlib", metadata=None)
