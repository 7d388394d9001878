"""Chooses the zoom of an image and whether it goes to the network whole or in overlapping tiles.

Neighboring tiles share a strip. A nucleus in it is found in both tiles, and it is whole in at
least one of them as long as it is smaller than the strip; nucdet/predict/joining.py makes one
nucleus of the two.
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
from nucdet.predict.network import Network, View, usual_capacity

# in pixels as the network sees them
WHOLE_SIDE = 1536  # images up to this side go as they are
TILE_SIDE = 1152
TILE_OVERLAP = 128  # four nuclei of common size
_STRIDE = 64  # of the coarsest feature map
# nuclei more than this many times as large as the image are a mistake
_LARGEST = 2
# what floating point may add to a whole number
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
        """The window that this tile and another one share."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        y1, x1 = min(self.y1, other.y1), min(self.x1, other.x1)
        return Tile(y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def tile_grid(size: tuple[int, int], tile: int, overlap: int, grid: float = 1) -> list[Tile]:
    """Divide an image into overlapping tiles of about the same size, row by row.

    Args:
        size: (height, width) of the image.
        tile: largest side of a tile, more than ``overlap``, a pixel more where ``grid`` is not
            whole; an image that fits is one tile.
        overlap: pixels that neighbors share, at least.
        grid: tiles start at multiples of it, rounded (the network's stride, so that it sees a pixel
            at the same place of its grid in every tile).
    """
    rows, columns = (_spans(length, tile, overlap, grid) for length in size)
    return [Tile(y0, x0, y1, x1) for y0, y1 in rows for x0, x1 in columns]


def _spans(length: int, tile: int, overlap: int, grid: float) -> list[tuple[int, int]]:
    if length <= tile:
        return [(0, length)]
    upper = max(1, int((tile - overlap) / grid + _ROUNDING))
    count = math.ceil((length - overlap) / (upper * grid) - _ROUNDING)
    # no stub of a tile at the end
    step = math.ceil((length - overlap) / (count * grid) - _ROUNDING) * grid
    starts = [number * step for number in range(count)]
    spans = [(round(start), math.ceil(start + step + overlap - _ROUNDING)) for start in starts]
    # rounded up, steps may reach the end early
    last = next(number for number, (_, end) in enumerate(spans) if end >= length)
    return [*spans[:last], (spans[last][0], length)]


class Plan(NamedTuple):
    """How an image is shown to the network."""

    zoom: float
    diameter: float | None  # that the zoom is for
    tiles: list[Tile]
    view: View | None = None  # what a first look has found that was just like that

    @property
    def capacity(self) -> float:
        """A tile may hold more nuclei than the images that a config's limits are meant for."""
        return max(usual_capacity(tile.size, self.zoom) for tile in self.tiles)


def plan_tiles(
    network: Network, source: ImageWindows, trained_diameter: float, diameter: float | str | None
) -> Plan:
    """Choose zoom and tiles of an image.

    Args:
        network: gives the usual zoom, and predicts parts of the image where the diameter is
            "auto".
        source: the image.
        trained_diameter: TEST.NUCLEUS_DIAMETER: the diameter of nuclei in training, in pixels as
            the network sees them.
        diameter: of the nuclei, in pixels of the image; "auto": estimated from a first look; None:
            the image is resized as in evaluation.

    Raises:
        InputError: nuclei of that diameter are larger than the image.
    """
    height, width = source.size
    if isinstance(diameter, numbers.Real) and diameter > _LARGEST * max(height, width):
        raise InputError(
            f"diameter is {diameter:g} pixels, but the image has only {height} × {width}; expected "
            "that of the nuclei in pixels of the image"
        )
    usual = network.zoom(min(height, WHOLE_SIDE), min(width, WHOLE_SIDE))
    upper = max(usual, MOST_ZOOM)
    view = None
    if diameter == "auto":
        diameter, view = estimate_diameter(
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
    return Plan(zoom, diameter, tiles, view if len(tiles) == 1 else None)
