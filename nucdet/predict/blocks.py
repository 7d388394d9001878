"""Overlap elimination where one label map of the whole picture would be too large."""

from __future__ import annotations

from typing import Any

import numpy as np
from detectron2.structures import Instances

from nucdet.postprocessing.overlap import OverlapElimination, eliminate_overlaps
from nucdet.structures import CroppedMasks


def eliminate_by_blocks(
    instances: Instances, elimination: OverlapElimination, block: int = 2048
) -> Instances:
    """What ``elimination(instances)`` gives, in memory that does not grow with the picture.

    A mask's fate depends only on the masks that its box meets, so each block of the picture is
    settled together with its neighbours.

    Args:
        instances: with ``pred_masks`` as CroppedMasks and ``scores``.
        elimination: settings.
        block: side of a block in pixels; masks belong to the block of their corner.
    """
    if not elimination.enabled or not len(instances):
        return instances
    instances = elimination.select(instances)
    settings = elimination.settings_for(instances.pred_masks)
    least_share, fill_holes = settings.pop("min_relative_area"), settings.pop("fill_holes")
    scores = instances.scores.numpy()
    left, kept = _settle(instances.pred_masks, scores, block, **settings)
    # the rule about the picture's mean comes between the cut and the holes
    if least_share > 0 and len(left):
        large = left.areas >= least_share * left.areas.mean()
        left, kept = left[large], kept[large]
    if fill_holes:
        left, _ = _settle(left, scores[kept], block, fill_holes=True)
    return elimination.finish(instances, left, kept)


def _settle(
    masks: CroppedMasks, scores: np.ndarray, block: int, **settings: Any
) -> tuple[CroppedMasks, np.ndarray]:
    """:func:`eliminate_overlaps`, block by block."""
    boxes = masks.boxes[:, [1, 0, 3, 2]].astype(np.int64)  # y0, x0, y1, x1
    _, owner = np.unique(boxes[:, :2] // block, axis=0, return_inverse=True)
    kept, parts = [np.zeros(0, np.int64)], [masks[:0]]
    for mine in (np.flatnonzero(owner == number) for number in range(owner.max(initial=-1) + 1)):
        near = _meeting(boxes, mine)
        local, corner = _window(masks, boxes, near)
        left, indices = eliminate_overlaps(local, scores[near], **settings)
        own = np.isin(near[indices], mine)
        kept.append(near[indices[own]])
        left = left[own]
        parts.append(CroppedMasks(left.offsets + corner, left.crops, masks.image_size))
    numbers = np.concatenate(kept)
    order = np.argsort(numbers)
    return CroppedMasks.cat(parts)[order], numbers[order]


def _meeting(boxes: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Numbers of the boxes that meet the box around some of them."""
    low, high = boxes[some, :2].min(axis=0), boxes[some, 2:].max(axis=0)
    return np.flatnonzero(((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(axis=1))


def _window(
    masks: CroppedMasks, boxes: np.ndarray, near: np.ndarray
) -> tuple[CroppedMasks, np.ndarray]:
    """Masks in the window around them, and its (y0, x0).

    A pixel wider than they are where the picture goes on: what is open there is not at the edge of
    the picture (holes).
    """
    corner = np.maximum(boxes[near, :2].min(axis=0) - 1, 0)
    end = np.minimum(boxes[near, 2:].max(axis=0) + 1, masks.image_size)
    crops = [masks.crops[i] for i in near.tolist()]
    return CroppedMasks(masks.offsets[near] - corner, crops, tuple(end - corner)), corner
