"""Finds images that are tiles of one larger image, by borders that continue each other.

DSB2018 contains many microscope fields cut into quarters. Tiles share specimen, stain and light, so
with tiles of one field in train and val, scores would reward memorization. The last row of a tile
and the first row of its neighbor were adjacent in the field: they correlate, and they differ no
more than adjacent rows within the tiles. Copies of one image are found by a checksum.

Measured on stage1_train against ``mosaic_idx`` of folds.csv (github selimsef/dsb2018_topcoders),
which names 76 mosaics of 4: 95 % of its 456 pairs are put together. 464 seams are found, 187 of
them between images that ``mosaic_idx`` separates. With one side of every line reversed, so that no
two tiles fit, only 2 are found: nearly all of the 187 are real, and ``mosaic_idx`` alone would leak
data.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nucdet.data.conversion.coco_json import ImageEntry

_MIN_CORRELATION = 0.9
_MAX_STEP = 1.5  # mean squared step across the seam, relative to that within the tiles next to it
_NOISE = 0.05  # squared grey levels, added to the latter so that tiles without noise can match
_CHUNK = 1 << 24  # pairs of images compared at a time


@dataclass(frozen=True)
class Borders:
    """The properties of an image that are compared with those of other images.

    Attributes:
        size: (height, width).
        checksum: of all pixels.
        lines: outermost row or column, flattened uint8: left, right, top, bottom.
        steps: mean squared difference of each to the line next to it.
    """

    size: tuple[int, int]
    checksum: int
    lines: tuple[np.ndarray, ...]
    steps: tuple[float, ...]


def borders_of(image: np.ndarray) -> Borders:
    """The borders of a uint8 (H, W, 3) image."""
    across = image.transpose(1, 0, 2)
    views = (across, across[::-1], image, image[::-1])
    outer = [view[0].ravel() for view in views]
    inner = [view[:2][-1].ravel() for view in views]
    steps = tuple(
        float(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(outer, inner, strict=True)
    )
    checksum = zlib.crc32(np.ascontiguousarray(image))
    return Borders(image.shape[:2], checksum, tuple(a.copy() for a in outer), steps)


def group_tiles(borders: Sequence[Borders], links: Iterable[tuple[int, int]] = ()) -> list[int]:
    """Number the groups of images that belong together, from 1 in order of first appearance.

    Args:
        borders: of each image.
        links: pairs of indices that are otherwise known to belong together.
    """
    pairs = list(links)
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    by_pixels: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)
    for index, border in enumerate(borders):
        by_size[border.size].append(index)
        by_pixels[border.size, border.checksum].append(index)
    for copies in by_pixels.values():
        pairs += [(copies[0], other) for other in copies[1:]]
    for indices in by_size.values():
        same_size = [borders[i] for i in indices]
        for before, after in ((1, 0), (3, 2)):  # right meets left, bottom meets top
            for a, b in _neighbors(same_size, before, after):
                pairs.append((indices[a], indices[b]))
    return _number_components(len(borders), pairs)


def set_groups(
    images: Sequence[ImageEntry], borders: Sequence[Borders], named: Sequence[str | None]
) -> None:
    """Set ``group`` of each image: tiles, copies and images of the same named group share one.

    Args:
        images: are changed in place.
        borders: of each image.
        named: the name of each image's group if it is otherwise known, or None.
    """
    first: dict[str, int] = {}
    links = [(first.setdefault(g, i), i) for i, g in enumerate(named) if g is not None]
    for image, group in zip(images, group_tiles(borders, links), strict=True):
        image.group = group


def _neighbors(borders: list[Borders], before: int, after: int) -> list[tuple[int, int]]:
    """Pairs (a, b) in which the line ``after`` of b continues the line ``before`` of a."""
    one, two = (
        np.stack([b.lines[side] for b in borders]).astype(np.float32) for side in (before, after)
    )
    ending, starting = _normalized(one), _normalized(two)
    highest = np.full(len(borders), -1, np.float32)
    found = []
    rows = max(1, _CHUNK // len(borders))
    for first in range(0, len(borders), rows):
        correlation = ending[first : first + rows] @ starting.T
        np.fill_diagonal(correlation[:, first:], -1)  # an image is not its own neighbor
        np.maximum(highest, correlation.max(0), out=highest)
        best = correlation == correlation.max(1, keepdims=True)
        a, b = np.nonzero(best & (correlation > _MIN_CORRELATION))
        found += zip(a + first, b, correlation[a, b], strict=True)
    pairs = []
    for a, b, correlation in found:
        within = (borders[a].steps[before] + borders[b].steps[after]) / 2
        across = np.mean((one[a] - two[b]) ** 2)
        if correlation == highest[b] and across < _MAX_STEP * (within + _NOISE):
            pairs.append((int(a), int(b)))
    return pairs


def _normalized(lines: np.ndarray) -> np.ndarray:
    centered = lines - lines.mean(1, keepdims=True)
    return centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)


def _number_components(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    numbers: dict[int, int] = {}
    labels = connected_components(graph, directed=False)[1]
    return [numbers.setdefault(int(label), len(numbers) + 1) for label in labels]
