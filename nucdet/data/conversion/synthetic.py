"""Creates a data set of drawn images with COCO JSON, for the demo and the tests."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from nucdet.data.conversion.coco_json import ImageEntry, annotations_of, write_splits
from nucdet.data.conversion.splits import check_filled, check_split, train_and_val
from nucdet.data.conversion.synthetic_images import LOOKS, draw_image
from nucdet.errors import InputError
from nucdet.files import write_atomically
from nucdet.progress import ProgressBar

_LARGEST = 4096  # pixels of a side; drawing takes a few hundred bytes per pixel


def make_synthetic(
    root: str | os.PathLike[str],
    images: int = 72,
    size: int = 256,
    val_fraction: float = 1 / 6,
    seed: int = 0,
) -> dict[str, list[ImageEntry]]:
    """Draw ``images`` images, cycling through all looks, with COCO JSON for train and val.

    Image i depends only on the seed, i and the size. Writes ``<root>/images/*.png`` and
    ``<root>/annotations/instances_{train,val}.json``; the same arguments give the same bytes.

    Args:
        root: folder of the data set.
        images: number of images, at least 2.
        size: height and width of each, in pixels.
        val_fraction: share of the images that becomes val, more than 0 and less than 1.
        seed: of the images and the split.

    Returns:
        The images of each split.

    Raises:
        InputError: a number is out of range, or a split would have no image.
    """
    check_split(val_fraction, seed)
    if images < 2 or not 32 <= size <= _LARGEST:
        raise InputError(
            f"--images {images} --size {size}: expected at least 2 images of 32 to {_LARGEST} "
            "pixels"
        )
    root, looks = Path(root), [_look(index) for index in range(images)]
    # checked before anything is drawn
    numbers = train_and_val(range(images), looks, range(images), val_fraction, seed)
    check_filled(numbers, images, "choose more --images or another --val-fraction")
    entries = [_draw(root, index, size, seed) for index in ProgressBar(range(images), "drawing")]
    splits = {split: [entries[i] for i in members] for split, members in numbers.items()}
    write_splits(root / "annotations", splits, "synthetic")
    return splits


def _look(index: int) -> str:
    return list(LOOKS)[index % len(LOOKS)]


def _draw(root: Path, index: int, size: int, seed: int) -> ImageEntry:
    look = _look(index)
    image, masks = draw_image(np.random.default_rng([seed, index]), size, look)
    file_name = f"images/{index:05d}.png"
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with write_atomically(root / file_name) as temporary:
        temporary.write_bytes(encoded.tobytes())
    return ImageEntry(file_name, size, size, look, annotations_of(masks))
