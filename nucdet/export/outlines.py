"""Converts masks to valid polygons with holes that follow the pixel edges exactly."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# a polygon: its outer ring, then its holes
Polygon = list[np.ndarray]

# The directions of a walk, in the order right, down, left, up. After each of them a walk prefers a
# turn to the right, then straight on, then left; the last row is for the start of a walk.
_PREFERRED = ((1, 0, 3), (2, 1, 0), (3, 2, 1), (0, 3, 2), (0, 1, 2, 3))
_START = 4
# the next direction, by the last one and by which are open (as bits 0 to 3)
_NEXT = [
    [next((way for way in ways if open_ways >> way & 1), _START) for open_ways in range(16)]
    for ways in _PREFERRED
]


def mask_polygons(crop: np.ndarray, offset: tuple[int, int] | np.ndarray) -> list[Polygon]:
    """Outline each 4-connected piece of a mask along the edges of its pixels.

    The polygons cover exactly the mask's pixels, each from its corner (x, y) to (x + 1, y + 1).
    They are valid according to OGC's Simple Features (and GeoJSON, RFC 7946): no ring touches
    itself; rings touch one another in single points at most; outer rings have a positive signed
    area in (x, y), which RFC 7946 calls counterclockwise, holes a negative one.

    Args:
        crop: (h, w) bool.
        offset: (y0, x0) of the crop in the image, pixels.

    Returns:
        A polygon for each piece, in reading order of their first pixels: int64 rings (K, 2) of
        corner points (x, y), without repeating the first point at the end. An empty mask has none.

    Example:
        >>> pixel, = mask_polygons(np.ones((1, 1), bool), (0, 5))
        >>> pixel[0].tolist()
        [[5, 0], [6, 0], [6, 1], [5, 1]]
    """
    crop = np.asarray(crop, dtype=bool)
    width = crop.shape[1] + 1
    rings = [
        np.stack(np.divmod(ring, width)[::-1], axis=1)
        for loop in _trace(crop)
        for ring in _split_at_touches(loop)
    ]
    shift = np.array([offset[1], offset[0]])
    if len(rings) == 1:  # as of most masks
        return [[rings[0] + shift]]
    is_outer = [_signed_area(ring) > 0 for ring in rings]
    # if the mask is one piece, every ring belongs to it
    pieces = ndimage.label(crop)[0] if sum(is_outer) > 1 else crop
    polygons: dict[int, Polygon] = {}
    # the outer ring of a polygon comes before its holes
    for i in sorted(range(len(rings)), key=lambda i: not is_outer[i]):
        piece = int(pieces[_inner_pixel(rings[i])])
        polygons.setdefault(piece, []).append(rings[i] + shift)
    return list(polygons.values())


def _trace(crop: np.ndarray) -> list[list[int]]:
    """Trace closed walks along the mask's border, with the mask on the right.

    A walk turns right wherever it can, so that it stays on a 4-connected piece. It passes a point
    twice where pixels touch diagonally.

    Returns:
        The corner points of each walk; points are numbered row by row, (w + 1) per row.
    """
    padded = np.zeros((crop.shape[0] + 2, crop.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = crop
    above_left, above = padded[:-1, :-1], padded[:-1, 1:]
    left, here = padded[1:, :-1], padded[1:, 1:]
    # the directions in which each point can be left, as bits
    ways = (here & ~above) | (left & ~here) << np.uint8(1)
    ways |= (above_left & ~left) << np.uint8(2) | (above & ~above_left) << np.uint8(3)
    starts = np.flatnonzero(ways).tolist()
    open_ways = bytearray(ways.astype(np.uint8).tobytes())
    steps = (1, ways.shape[1], -1, -ways.shape[1])
    walks = []
    for start in starts:
        while open_ways[start]:
            # the first point of a walk in reading order is always a corner
            walks.append(_walk(open_ways, start, steps))
    return walks


def _walk(open_ways: bytearray, start: int, steps: tuple[int, ...]) -> list[int]:
    """The corner points of the walk from ``start``; the directions it takes are cleared."""
    corners = []
    point, last = start, _START
    while ways := open_ways[point]:
        way = _NEXT[last][ways]
        if way != last:
            corners.append(point)
        open_ways[point] = ways & ~(1 << way)
        point, last = point + steps[way], way
    return corners


def _split_at_touches(walk: list[int]) -> list[list[int]]:
    """Split a walk where it passes a point again, into simple rings that touch at that point."""
    rings = []
    open_points: list[int] = []
    position: dict[int, int] = {}
    for point in walk:
        if point in position:
            first = position[point]
            rings.append(open_points[first:])
            for passed in open_points[first + 1 :]:
                del position[passed]
            del open_points[first + 1 :]
        else:
            position[point] = len(open_points)
            open_points.append(point)
    return [*rings, open_points]


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _inner_pixel(ring: np.ndarray) -> tuple[int, int]:
    """The pixel (y, x) of the mask on the right of the ring's first edge."""
    x, y = ring[0]
    dx, dy = np.sign(ring[1] - ring[0])
    return int(y - (dx < 0 or dy < 0)), int(x - (dx < 0 or dy > 0))
