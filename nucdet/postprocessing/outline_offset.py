"""Moves outlines outwards or inwards: annotators differ by a pixel in where a nucleus ends."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from skimage.segmentation import expand_labels

from nucdet.postprocessing import blocks
from nucdet.structures import CroppedMasks


def offset_outlines(masks: CroppedMasks, offset: float) -> CroppedMasks:
    """Grow or shrink masks that do not overlap by a number of pixels.

    Distances are Euclidean between pixel centers, so the result changes at offsets of 1, √2, 2, √5
    and so on.

    - ``offset`` > 0: each background pixel within this distance of a mask is added to the nearest
      mask, as in :func:`skimage.segmentation.expand_labels`, ties included. No mask loses a pixel.
    - ``offset`` < 0: each mask loses its pixels within this distance of any pixel outside it,
      background or a neighbor. The edge of the image is not an outline: what lies beyond is
      unknown. A mask never vanishes; at least its innermost pixels (those farthest from the
      outside) stay.

    Time and memory grow with the blocks of the image that hold masks, not with N×H×W.

    Args:
        masks: N masks of one image, none empty.
        offset: pixels.

    Returns:
        N masks in the same order.

    Example:
        Two masks grow by a pixel, into the background only::

            >>> row = CroppedMasks.from_label_map(np.array([[0, 1, 1, 2, 0, 0]]))
            >>> offset_outlines(row, 1).to_label_map()
            array([[1, 1, 1, 2, 2, 0]], dtype=int32)
            >>> offset_outlines(row, -1).areas
            array([2, 1])
    """
    if offset > 0 and len(masks):
        return _grown(masks, offset)
    if offset < 0:
        windows = [
            _shrunk(crop, box, masks.image_size, -offset)
            for crop, box in zip(masks.crops, masks.slices(), strict=True)
        ]
        return CroppedMasks.from_windows(masks.offsets, windows, masks.image_size)
    return masks


def _grown(masks: CroppedMasks, distance: float) -> CroppedMasks:
    reach = math.ceil(distance)
    low = masks.offsets
    high = low + [crop.shape for crop in masks.crops]
    offsets = np.maximum(low - reach, 0)
    ends = np.minimum(high + reach, masks.image_size)
    windows: list[np.ndarray] = [np.zeros((0, 0), bool)] * len(masks)
    # a pixel within reach of a mask of the block may be nearer to a mask up to 2 * reach away
    for mine, near, start, stop in blocks.blocks_of(masks, blocks.BLOCK, 2 * reach):
        corner = np.maximum(np.minimum(start, low[near].min(axis=0)), 0)
        end = np.minimum(np.maximum(stop, high[near].max(axis=0)), masks.image_size)
        crops = [masks.crops[i] for i in near.tolist()]
        local = CroppedMasks(low[near] - corner, crops, tuple(end - corner))
        labels = expand_labels(local.to_label_map(), distance)
        for i, label in zip(mine.tolist(), (np.searchsorted(near, mine) + 1).tolist(), strict=True):
            (y0, x0), (y1, x1) = offsets[i] - corner, ends[i] - corner
            windows[i] = labels[y0:y1, x0:x1] == label
    return CroppedMasks.from_windows(offsets, windows, masks.image_size)


def _shrunk(
    crop: np.ndarray, box: tuple[slice, slice], image_size: tuple[int, int], distance: float
) -> np.ndarray:
    """The pixels that stay, in the window of the crop."""
    # a line of outside pixels on each side where the image continues
    sides = [
        (int(span.start > 0), int(span.stop < length))
        for span, length in zip(box, image_size, strict=True)
    ]
    padded = np.pad(crop, sides)
    if padded.all():
        return crop
    inner = tuple(
        slice(before, before + length)
        for (before, _), length in zip(sides, crop.shape, strict=True)
    )
    depth = ndimage.distance_transform_edt(padded)[inner]
    return depth > min(distance, np.nextafter(depth.max(), 0))
