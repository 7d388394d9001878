"""Masks as runs of foreground pixels along image lines, for all masks of an image at once.

A *line* is an image column where a format counts down the columns (COCO, Kaggle) and an image row
where it counts along the rows (Sartorius). Pixels are numbered from 0, line after line. A *block*
is a bool array (lines, pixels of a line) cut from the image: a crop, transposed for columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Foreground runs of several masks, sorted by mask, then by start; none empty, none overlap."""

    owner: np.ndarray  # (R,) int64, index of the mask
    start: np.ndarray  # (R,) int64, number of the first pixel
    end: np.ndarray  # (R,) int64, number of the first pixel after the run


def first_of_each(counts: np.ndarray) -> np.ndarray:
    """The index at which each group starts when groups of these sizes follow one another."""
    return np.cumsum(counts) - counts


def position_in_group(counts: np.ndarray) -> np.ndarray:
    """0, 1, 2, … within each of the groups of these sizes, one after the other."""
    return np.arange(counts.sum()) - np.repeat(first_of_each(counts), counts)


def runs_of_blocks(blocks: Sequence[np.ndarray], corners: np.ndarray, line_length: int) -> Runs:
    """The runs of N masks, in one pass over the pixels of all blocks.

    Args:
        blocks: N bool arrays (lines, pixels of a line).
        corners: (N, 2) int, each block's first line and first pixel within the line.
        line_length: pixels of a whole image line.

    Returns:
        Runs of maximal length: a run that continues at the start of the next line is one run.
    """
    shapes = np.array([block.shape for block in blocks], dtype=np.int64).reshape(-1, 2)
    shapes[shapes[:, 1] == 0] = 0
    pixels = np.concatenate([block.ravel() for block in blocks] or [np.zeros(0, dtype=bool)])
    line_owner = np.repeat(np.arange(len(blocks)), shapes[:, 0])
    widths = shapes[line_owner, 1]
    line_first = first_of_each(widths)
    line_last = line_first + widths - 1

    opens, closes = pixels.copy(), pixels.copy()
    opens[1:] &= ~pixels[:-1]
    closes[:-1] &= ~pixels[1:]
    # lines lie side by side in `pixels` but not in the image: no run crosses here
    opens[line_first] = pixels[line_first]
    closes[line_last] = pixels[line_last]
    first, last = np.flatnonzero(opens), np.flatnonzero(closes)

    line = np.searchsorted(line_first, first, side="right") - 1
    image_line = position_in_group(shapes[:, 0]) + corners[line_owner, 0]
    shift = (image_line * line_length + corners[line_owner, 1] - line_first)[line]
    return _join_touching(Runs(line_owner[line], first + shift, last + 1 + shift))


def _join_touching(runs: Runs) -> Runs:
    if not len(runs.owner):
        return runs
    parted = (runs.owner[1:] != runs.owner[:-1]) | (runs.start[1:] != runs.end[:-1])
    begins = np.concatenate([[True], parted])
    ends = np.concatenate([parted, [True]])
    return Runs(runs.owner[begins], runs.start[begins], runs.end[ends])


def blocks_of_runs(runs: Runs, count: int, line_length: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Paint the runs of ``count`` masks into tight blocks; no array is larger than all blocks.

    Returns:
        (count, 2) int64 corners (first line, first pixel within the line) and ``count`` bool
        blocks, views into one buffer. A mask without runs: corner (0, 0), a block of shape (0, 0).
    """
    owner, line, low, high = _split_at_line_ends(runs, line_length)
    corners = np.zeros((count, 2), dtype=np.int64)
    shapes = np.zeros((count, 2), dtype=np.int64)
    if len(owner):
        group = np.flatnonzero(np.diff(owner, prepend=-1))
        present = owner[group]
        corners[present, 0] = np.minimum.reduceat(line, group)
        corners[present, 1] = np.minimum.reduceat(low, group)
        shapes[present, 0] = np.maximum.reduceat(line, group) + 1
        shapes[present, 1] = np.maximum.reduceat(high, group)
        shapes -= corners

    sizes = shapes.prod(axis=1)
    base = first_of_each(sizes)
    at = base[owner] + (line - corners[owner, 0]) * shapes[owner, 1] - corners[owner, 1]
    steps = np.zeros(int(sizes.sum()) + 1, dtype=np.int8)
    # one run may end at the pixel where another begins, hence additions instead of assignments
    steps[at + low] += 1
    steps[at + high] -= 1
    pixels = np.cumsum(steps[:-1], dtype=np.int8).view(bool)
    spans = zip(base.tolist(), sizes.tolist(), shapes.tolist(), strict=True)
    return corners, [pixels[b : b + size].reshape(shape) for b, size, shape in spans]


def _split_at_line_ends(runs: Runs, line_length: int) -> tuple[np.ndarray, ...]:
    """Cut runs where lines end: owner, line, first pixel in the line, pixel after the last."""
    first_line = runs.start // line_length
    pieces = (runs.end - 1) // line_length - first_line + 1
    run = np.repeat(np.arange(len(pieces)), pieces)
    line = first_line[run] + position_in_group(pieces)
    line_start = line * line_length
    low = np.maximum(runs.start[run] - line_start, 0)
    high = np.minimum(runs.end[run] - line_start, line_length)
    return runs.owner[run], line, low, high
