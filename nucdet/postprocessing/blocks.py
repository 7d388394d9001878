"""Processes the masks of an image in blocks, without a label map of the whole image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from nucdet.structures import CroppedMasks

BLOCK = 2048  # side in pixels of the blocks of :func:`by_blocks`; no result depends on it


class Block(NamedTuple):
    """The masks of one block of an image, and those near them.

    Attributes:
        mine: indices of the masks whose top left corner is in the block, ascending.
        near: indices of all masks whose box overlaps the window, ascending: ``mine`` and others, or
            those of ``among`` in :func:`blocks_of`.
        start, stop: (2,) int64, (y0, x0) and (y1, x1) of the window: the box around ``mine`` with
            a margin, which may reach beyond the image.
    """

    mine: np.ndarray
    near: np.ndarray
    start: np.ndarray
    stop: np.ndarray


def blocks_of(
    masks: CroppedMasks, block: int, margin: int = 0, among: CroppedMasks | None = None
) -> Iterator[Block]:
    """The blocks of an image that have masks; each mask belongs to that of its top left corner.

    Args:
        masks: N masks of one image, none empty.
        block: side of a block in pixels.
        margin: width in pixels of the window's margin around the masks of a block.
        among: masks of the same image of which ``near`` tells those near a block; None: ``masks``.
    """
    low, high = _extents(masks)
    first, last = (low, high) if among is None else _extents(among)
    _, owner = np.unique(low // block, axis=0, return_inverse=True)
    for number in range(owner.max(initial=-1) + 1):
        mine = np.flatnonzero(owner == number)
        start, stop = low[mine].min(axis=0) - margin, high[mine].max(axis=0) + margin
        near = np.flatnonzero(((first < stop) & (last > start)).all(axis=1))
        yield Block(mine, near, start, stop)


def _extents(masks: CroppedMasks) -> tuple[np.ndarray, np.ndarray]:
    """(y0, x0) and (y1, x1) of the box of each mask, (N, 2) int64 each."""
    return masks.offsets, masks.boxes[:, [3, 2]].astype(np.int64)


def by_blocks(
    masks: CroppedMasks, change: Callable[[CroppedMasks, np.ndarray], CroppedMasks]
) -> CroppedMasks:
    """Apply ``change`` to the masks of an image, in memory that does not grow with the image.

    The result for a mask may depend only on the masks whose boxes overlap its own. The masks of
    each block are processed together with these neighbors; an image up to the size of a block is
    processed in one call.

    Args:
        masks: N masks of one image, none empty.
        change: takes masks that lie near each other, with their indices in ``masks``, and returns
            as many, in the same order. Their coordinates are relative to a window around them,
            with a margin of one pixel where the image continues: a mask touches the edge of the
            window only where it touches the edge of the image.

    Returns:
        N masks in the same order; ``change`` may have left some of them empty.
    """
    numbers, parts = [np.zeros(0, np.int64)], [masks[:0]]
    for mine, near, _, _ in blocks_of(masks, BLOCK):
        local, corner = _in_window(masks[near])
        changed = change(local, near)[np.searchsorted(near, mine)]
        numbers.append(mine)
        parts.append(CroppedMasks(changed.offsets + corner, changed.crops, masks.image_size))
    return CroppedMasks.cat(parts)[np.argsort(np.concatenate(numbers))]


def _in_window(masks: CroppedMasks) -> tuple[CroppedMasks, np.ndarray]:
    """The masks in a window around them, and its (y0, x0)."""
    low, high = _extents(masks)
    corner = np.maximum(low.min(axis=0) - 1, 0)
    end = np.minimum(high.max(axis=0) + 1, masks.image_size)
    return CroppedMasks(masks.offsets - corner, masks.crops, tuple(end - corner)), corner
