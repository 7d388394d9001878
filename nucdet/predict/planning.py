"""Chooses the zoom of an image and whether it is predicted whole or in overlapping tiles.

Neighboring tiles share a strip. A nucleus in the strip is found in both tiles, and it is whole in
at least one of them if it is smaller than the strip; nucdet/predict/joining.py merges the two.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import NamedTuple

from nucdet.data.augment.geometry import MOST_ZOOM
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.predict.diameter import estimate_diameter
from nucdet.predict.network import Network, NetworkOutput, usual_capacity

# Images with a shorter side are not enlarged more than one of this side, the least in training: how
# large nuclei are does not depend on where an image was cut (docs/experiments.md).
_LEAST_SIDE = 256
# in pixels of the network's input
WHOLE_SIDE = 1536  # images up to this side are predicted whole
TILE_SIDE = 1152
TILE_OVERLAP = 128  # four nuclei of usual diameter
_STRIDE = 64  # of the coarsest feature map
# a diameter of more than this many times the image's longer side is rejected as a mistake
_MAX_DIAMETER = 2
# tolerance for rounding errors of floating-point numbers that should be integers
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Tile:
    """A window of an image: rows y0 to y1, columns x0 to x1, half-open, in its pixels."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The window as an index (rows, columns)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0

    def shared_with(self, other: Tile) -> Tile | None:
        """The intersection with another tile; None if it is empty."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        y1, x1 = min(self.y1, other.y1), min(self.x1, other.x1)
        return Tile(y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def tile_grid(size: tuple[int, int], tile: int, overlap: int, grid: float = 1) -> list[Tile]:
    """Divide an image into overlapping tiles of about the same size, row by row.

    Args:
        size: (height, width) of the image.
        tile: largest side of a tile, which must be more than ``overlap``; tiles may be one pixel
            larger if ``grid`` is not an integer. An image that fits in one tile is not divided.
        overlap: the least number of pixels that neighbors share.
        grid: tiles start at multiples of this (rounded): the network's stride, so that a pixel has
            the same position relative to the feature map's grid in every tile.
    """
    rows, columns = (_spans(length, tile, overlap, grid) for length in size)
    return [Tile(y0, x0, y1, x1) for y0, y1 in rows for x0, x1 in columns]


def _spans(length: int, tile: int, overlap: int, grid: float) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    upper = max(1, int((tile - overlap) / grid + _ROUNDING))
    count = math.ceil((length - overlap) / (upper * grid) - _ROUNDING)
    # equal steps, so that the last tile is not much smaller than the others
    step = math.ceil((length - overlap) / (count * grid) - _ROUNDING) * grid
    starts = [number * step for number in range(count)]
    spans = [(round(start), math.ceil(start + step + overlap - _ROUNDING)) for start in starts]
    # because the step is rounded up, fewer tiles may be enough
    last = next(number for number, (_, end) in enumerate(spans) if end >= length)
    return [*spans[:last], (spans[last][0], length)]


class Plan(NamedTuple):
    """How an image is shown to the network."""

    zoom: float
    diameter: float | None  # of the nuclei, from which the zoom follows; None: the usual zoom
    tiles: list[Tile]
    output: NetworkOutput | None = None  # if estimating the diameter has computed it already

    @property
    def capacity(self) -> float:
        """The factor on a config's limits, because a tile may contain more nuclei than usual."""
        return max(usual_capacity(tile.size, self.zoom) for tile in self.tiles)


def plan_tiles(
    network: Network, source: ImageWindows, trained_diameter: float, diameter: float | str | None
) -> Plan:
    """Choose the zoom and tiles of an image.

    Args:
        network: gives the usual zoom, and predicts parts of the image if the diameter is "auto".
        source: the image.
        trained_diameter: TEST.NUCLEUS_DIAMETER, the diameter of nuclei in training, in pixels of
            the network's input.
        diameter: diameter of the nuclei in pixels of the image; "auto": estimated from a first
            prediction; None: resized by INPUT.MIN_SIZE_TEST.

    Raises:
        InputError: the diameter is more than twice the image's longer side.
    """
    height, width = source.size
    if isinstance(diameter, numbers.Real) and diameter > _MAX_DIAMETER * max(height, width):
        raise InputError(
            f"diameter is {diameter:g} pixels, but the image has only {height} × {width}; expected "
            "that of the nuclei in pixels of the image"
        )
    least = _LEAST_SIDE if diameter == "auto" else 1
    usual = network.zoom(*(min(max(side, least), WHOLE_SIDE) for side in source.size))
    upper = max(usual, MOST_ZOOM)
    output = None
    if diameter == "auto":
        diameter, output = estimate_diameter(
            network, source, usual, trained_diameter, upper, WHOLE_SIDE
        )
    zoom = usual if diameter is None else min(trained_diameter / float(diameter), upper)
    # tiles are cut in the image's pixels
    side, tile, overlap = (
        max(1, math.floor(length / zoom)) for length in (WHOLE_SIDE, TILE_SIDE, TILE_OVERLAP)
    )
    if max(height, width) <= side:
        tile = side
    tiles = tile_grid(source.size, tile, overlap, _STRIDE / zoom)
    return Plan(zoom, diameter, tiles, output if len(tiles) == 1 else None)
