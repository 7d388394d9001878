"""Processes the masks of an image in blocks, so that no label map of a large image is needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nucdet.structures import CroppedMasks


def by_blocks(
    masks: CroppedMasks,
    change: Callable[[CroppedMasks, np.ndarray], CroppedMasks],
    block: int = 2048,
) -> CroppedMasks:
    """Apply ``change`` to the masks of an image, in memory that does not grow with the image.

    What becomes of a mask must depend only on the masks that its box meets. Each block of the image
    is processed together with its neighbors, and an image up to the size of a block is one part.

    Args:
        masks: N masks of one image, none empty.
        change: takes masks that lie near each other, with their indices in ``masks``, and returns
            as many, in the same order. Their coordinates start from a window around them, a pixel
            wider than they are where the image goes on: only what is open at the edge of the image
            is open at the edge of the window.
        block: side of a block in pixels; a mask belongs to the block of its top left corner.

    Returns:
        N masks in the same order; ``change`` may have left some of them empty.
    """
    boxes = masks.boxes[:, [1, 0, 3, 2]].astype(np.int64)  # y0, x0, y1, x1
    _, owner = np.unique(boxes[:, :2] // block, axis=0, return_inverse=True)
    numbers, parts = [np.zeros(0, np.int64)], [masks[:0]]
    for mine in (np.flatnonzero(owner == number) for number in range(owner.max(initial=-1) + 1)):
        near = _meeting(boxes, mine)
        local, corner = _window(masks, boxes, near)
        changed = change(local, near)[np.searchsorted(near, mine)]
        numbers.append(mine)
        parts.append(CroppedMasks(changed.offsets + corner, changed.crops, masks.image_size))
    return CroppedMasks.cat(parts)[np.argsort(np.concatenate(numbers))]


def _meeting(boxes: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Indices, ascending, of the boxes that meet the box around those of ``mine``."""
    low, high = boxes[mine, :2].min(axis=0), boxes[mine, 2:].max(axis=0)
    return np.flatnonzero(((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(axis=1))


def _window(
    masks: CroppedMasks, boxes: np.ndarray, near: np.ndarray
) -> tuple[CroppedMasks, np.ndarray]:
    """The masks ``near`` in the window around them, and its (y0, x0)."""
    corner = np.maximum(boxes[near, :2].min(axis=0) - 1, 0)
    end = np.minimum(boxes[near, 2:].max(axis=0) + 1, masks.image_size)
    crops = [masks.crops[i] for i in near.tolist()]
    return CroppedMasks(masks.offsets[near] - corner, crops, tuple(end - corner)), corner
