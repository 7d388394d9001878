"""How large the nuclei of an image are, so that it can be shown to the network at their size."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nucdet.data.io.windows import Box, ImageWindows
from nucdet.predict.blank import is_blank
from nucdet.predict.network import Network, View

_LOOK_SIDE = 640  # pixels, as the network sees them, of a part that is looked at
_ENOUGH = 10  # nuclei; fewer, and further parts of the image are looked at
_OTHER_ZOOMS = (3.0, 1 / 3)  # on the usual one, where it shows nothing
_SURE = 0.9  # a score; fragments of very large nuclei, and clumps of very small ones, have lower
# Nuclei this large, as a share of the size in training, are found as well as they are, so the
# image is left alone (67 images of dsb2018_val, center voting).
_FITS = (0.8, 2.0)
# Two looks agree when the larger diameter is at most so many times the smaller one, and the second
# is at most so much less sure: right second looks were up to 0.06 less sure there.
_SAME_SIZE = 1.5
_LESS_SURE = 0.1
# by how much a third look may be less sure than the first
_HARDLY = 0.02


class Estimate(NamedTuple):
    """Of the diameter of nuclei.

    Attributes:
        diameter: pixels of the image, None: the usual zoom serves.
        view: what the network said at the zoom that follows from it, where it saw the whole image.
    """

    diameter: float | None
    view: View | None = None


class _Look(NamedTuple):
    """What one zoom shows of an image."""

    diameter: float  # median, pixels of the image
    score: float  # mean
    view: View | None  # where it is of the whole image


def estimate_diameter(
    network: Network, source: ImageWindows, zoom: float, wanted: float, most_zoom: float = np.inf
) -> Estimate:
    """The median diameter of the nuclei in a first look at parts of the image.

    What the usual zoom shows is believed where it is near the size in training. Else the image is
    looked at as that size asks, and this second look is believed where it finds nuclei of the same
    size again. Much larger nuclei are found in fragments at first, much smaller ones as clumps:
    then a third look has to find the size that the second one found, about as sure as the first.
    Where no two looks agree, the usual zoom stays.

    Args:
        network: what finds nuclei.
        source: the image.
        zoom: the usual one.
        wanted: diameter in training, in pixels as the network sees them.
        most_zoom: the largest zoom to look with.
    """

    def look(at: float) -> _Look | None:
        return _look(network, source, min(at, most_zoom))

    usual = first = look(zoom)
    if usual is not None and _FITS[0] <= usual.diameter * zoom / wanted <= _FITS[1]:
        return Estimate(None, usual.view)
    if usual is None and not is_blank(source):
        for factor in _OTHER_ZOOMS:
            first = first or look(zoom * factor)
    stays = Estimate(None, usual and usual.view)
    second = first and look(wanted / first.diameter)
    if second is None:
        return stays
    if _agree(first, second):
        return Estimate(first.diameter, second.view)
    third = look(wanted / second.diameter)
    if third is None or not _agree(second, third) or third.score < first.score - _HARDLY:
        return stays
    return Estimate(second.diameter, third.view)


def _agree(one: _Look, other: _Look) -> bool:
    ratio = abs(math.log(one.diameter / other.diameter))
    return ratio <= math.log(_SAME_SIZE) and other.score >= one.score - _LESS_SURE


def _look(network: Network, source: ImageWindows, zoom: float) -> _Look | None:
    """The size of the sure nuclei, or where none is, of all; None where there are none."""
    areas, scores = [], []
    parts = _parts(source.size, max(1, round(_LOOK_SIDE / zoom)))
    for part in parts:
        (view,) = network([(source.read(part), zoom)])
        areas.extend(view.instances.pred_masks.areas.tolist())
        scores.extend(view.instances.scores.tolist())
        if len(scores) >= _ENOUGH:
            break
    if not scores:
        return None
    sure = np.array(scores) >= _SURE
    median = np.median(np.array(areas)[sure if sure.any() else ...])
    whole = len(parts) == 1
    return _Look(2 * math.sqrt(median / math.pi), float(np.mean(scores)), view if whole else None)


def _parts(size: tuple[int, int], side: int) -> list[Box]:
    """The middle of an image, then the middles of its quarters."""
    places = [(0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25)]
    if max(size) <= side:
        places = places[:1]
    return [
        tuple(_span(length, at, side) for length, at in zip(size, place, strict=True))
        for place in places
    ]


def _span(length: int, at: float, side: int) -> slice:
    start = max(0, min(round(length * at - side / 2), length - side))
    return slice(start, min(start + side, length))
