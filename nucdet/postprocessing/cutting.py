"""Removes overlaps of masks, pieces that were cut off, and holes."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from nucdet.postprocessing.blocks import by_blocks
from nucdet.structures import CroppedMasks


def cut_overlaps(
    masks: CroppedMasks, rank: np.ndarray, keep_largest_piece: bool = False
) -> CroppedMasks:
    """Give each pixel that several masks cover to the one with the highest rank.

    Args:
        masks: N masks of one image.
        rank: (N,) numbers; of equals the lower index wins.
        keep_largest_piece: keep only the largest 8-connected piece of each mask that lost pixels
            (of equals, the first in reading order). Masks that lost nothing keep all their pieces.

    Returns:
        N masks in the same order that share no pixel; some may be empty.
    """
    weakest_first = np.lexsort((-np.arange(len(masks)), rank))
    owner = masks.paint(weakest_first)
    windows = []
    for label, (box, crop) in enumerate(zip(masks.slices(), masks.crops, strict=True), 1):
        window = owner[box] == label
        if keep_largest_piece and not np.array_equal(window, crop):
            window = _largest_piece(window)
        windows.append(window)
    return CroppedMasks.from_windows(masks.offsets, windows, masks.image_size)


def _largest_piece(window: np.ndarray) -> np.ndarray:
    # not OpenCV's labels: theirs are not in reading order, which decides between equals
    pieces, count = ndimage.label(window, structure=np.ones((3, 3)))
    if count <= 1:
        return window
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def keep_largest_pieces(masks: CroppedMasks) -> CroppedMasks:
    """The largest 8-connected piece of each mask; of equals the first in reading order."""
    # OpenCV counts pieces many times faster than scipy; its count includes the background
    whole = np.array(
        [cv2.connectedComponents(crop.view(np.uint8))[0] <= 2 for crop in masks.crops], bool
    )
    if whole.all():
        return masks
    apart = masks[~whole]
    windows = [_largest_piece(crop) for crop in apart.crops]
    pieces = CroppedMasks.from_windows(apart.offsets, windows, masks.image_size)
    order = np.argsort(np.concatenate([np.flatnonzero(whole), np.flatnonzero(~whole)]))
    return CroppedMasks.cat([masks[whole], pieces])[order]


def fill_holes(masks: CroppedMasks) -> CroppedMasks:
    """Fill each part of the background that one mask encloses and no other mask touches.

    Args:
        masks: N masks of one image that share no pixel, none empty. Background is 4-connected, and
            open where it reaches the edge of the image.

    Returns:
        N masks in the same order, in the same boxes.
    """
    return by_blocks(masks, lambda near, _: _filled(near))


def _filled(masks: CroppedMasks) -> CroppedMasks:
    labels = masks.to_label_map()
    count, parts = cv2.connectedComponents((labels == 0).view(np.uint8), connectivity=4)
    # a background part is a hole of a mask if the lowest and highest label adjacent to it are equal
    lowest = np.full(count, np.iinfo(labels.dtype).max, dtype=labels.dtype)
    highest = np.zeros(count, dtype=labels.dtype)
    before, after = np.s_[:-1], np.s_[1:]
    for here, there in ((before, after), (after, before)):
        for a, b in ((np.s_[here], np.s_[there]), (np.s_[:, here], np.s_[:, there])):
            adjacent = np.nonzero((parts[a] > 0) & (labels[b] > 0))
            np.minimum.at(lowest, parts[a][adjacent], labels[b][adjacent])
            np.maximum.at(highest, parts[a][adjacent], labels[b][adjacent])
    open_parts = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    highest[open_parts] = 0
    enclosed = lowest == highest
    if not enclosed.any():
        return masks

    filled = np.nonzero(enclosed[parts])
    labels[filled] = highest[parts[filled]]
    crops = list(masks.crops)
    boxes = list(masks.slices())
    for i in (np.unique(labels[filled]) - 1).tolist():
        crops[i] = labels[boxes[i]] == i + 1
    return CroppedMasks(masks.offsets, crops, masks.image_size)
