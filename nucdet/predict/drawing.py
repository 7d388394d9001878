"""Draws overlays on images of any size; memory depends only on the size of the drawing."""

from __future__ import annotations

import cv2
import numpy as np

from nucdet.data.io.windows import ImageWindows
from nucdet.structures import CroppedMasks
from nucdet.visualization.colors import PALETTE, palette_by_neighbors

# longest side of a drawing; a larger image is reduced by an integer factor
OVERLAY_SIDE = 4096
# rows of the reduced image that are read at a time
_BAND = 64


def read_for_drawing(source: ImageWindows) -> np.ndarray:
    """The image to draw on: uint8 (H, W, 3) RGB, reduced to :data:`OVERLAY_SIDE` or less.

    A large image is read and averaged in bands of rows.
    """
    factor = reduction(source.size, OVERLAY_SIDE)
    if factor == 1:
        return source.read(source.whole())
    height, width = source.size
    bands = []
    for top in range(0, height, _BAND * factor):
        bottom = min(top + _BAND * factor, height)
        band = source.read((slice(top, bottom), slice(0, width)))
        bands.append(_fit(band, (-(-(bottom - top) // factor), -(-width // factor))))
    return np.concatenate(bands)


def draw_overlay(image: np.ndarray, masks: CroppedMasks, colors: str) -> np.ndarray:
    """Draw outlines on the image, which is enlarged if it is small (see :func:`draw_instances`).

    Args:
        image: from :func:`read_for_drawing`.
        masks: the masks, in pixels of the image file.
        colors: from :func:`outline_colors`.

    Returns:
        uint8 RGB of the image's size, or a multiple.
    """
    from nucdet.visualization.drawing import draw_instances  # loads matplotlib

    masks = reduce_masks(masks, reduction(masks.image_size, OVERLAY_SIDE))
    return draw_instances(image, masks, PALETTE[[int(digit) for digit in colors]])


def outline_colors(image: np.ndarray, masks: CroppedMasks) -> str:
    """A digit for each mask: the index of its color, which differs from its neighbors' colors.

    Args:
        image: from :func:`read_for_drawing`.
        masks: the masks, in pixels of the image file.
    """
    masks = reduce_masks(masks, reduction(masks.image_size, OVERLAY_SIDE))
    return "".join(map(str, palette_by_neighbors(masks, image).tolist()))


def reduction(image_size: tuple[int, int], side: int) -> int:
    """The smallest integer factor that reduces an image's longer side to at most ``side``."""
    return max(1, -(-max(image_size) // side))


def reduce_masks(masks: CroppedMasks, factor: int) -> CroppedMasks:
    """Take every ``factor``-th pixel of the masks, without an array of the image's size.

    Returns:
        The same number of masks, for an image of size (ceil(H / factor), ceil(W / factor)).
    """
    first = -(-masks.offsets // factor)
    skip = first * factor - masks.offsets
    windows = [
        crop[y::factor, x::factor] for crop, (y, x) in zip(masks.crops, skip.tolist(), strict=True)
    ]
    height, width = (-(-side // factor) for side in masks.image_size)
    return CroppedMasks.from_windows(np.minimum(first, (height, width)), windows, (height, width))


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
