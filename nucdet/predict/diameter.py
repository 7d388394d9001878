"""Estimates the diameter of the nuclei of an image, from which its zoom follows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nucdet.data.io.windows import Box, ImageWindows
from nucdet.predict.blank import is_blank
from nucdet.predict.network import Network, View, usual_capacity

# An image up to this side, in pixels as the network sees it, is looked at as a whole, and what is
# seen can be the prediction; of larger ones parts of the other side are.
_WHOLE_SIDE = 640
_PART_SIDE = 384
# where fewer nuclei are found than this, further parts of the image are predicted
_ENOUGH = 10
# factors on the usual zoom that are tried where it shows no nucleus
_OTHER_ZOOMS = (3.0, 1 / 3)
# Nuclei with this score are counted first: fragments of very large nuclei and clumps of very small
# ones score lower. With 0.9 the large nuclei alone speak in stained tissue (docs/experiments.md).
_SURE = 0.7
# Nuclei within this range of the size in training are found as well at the usual zoom, so the image
# is not rescaled.
_FITS = (0.9, 2.0)
# Two estimates agree when the larger one is at most this many times the smaller one, and the mean
# score of the second is lower by at most this much: it was lower by up to 0.06 for right ones.
_SAME_SIZE = 1.5
_LESS_SURE = 0.1
# by how much the mean score of a third estimate may be lower than that of the first
_HARDLY = 0.02
# Where nuclei turn out smaller than this share of the estimate that chose the zoom, that had missed
# the small ones, and they are shown once more, larger.
_SMALLER = 0.9


class Estimate(NamedTuple):
    """The estimated diameter of the nuclei of an image.

    Attributes:
        diameter: in pixels of the image; None: the usual zoom is kept.
        view: the network's answer at the zoom that follows from it, where it saw the whole image.
    """

    diameter: float | None
    view: View | None = None


class _Look(NamedTuple):
    """The nuclei that one zoom shows."""

    diameter: float  # median of the nuclei, in pixels of the image
    score: float  # mean of the nuclei
    view: View | None  # the network's answer, where it saw the whole image


def estimate_diameter(
    network: Network,
    source: ImageWindows,
    zoom: float,
    wanted: float,
    most_zoom: float = np.inf,
    whole_side: int = _WHOLE_SIDE,
) -> Estimate:
    """Estimate the median diameter of the nuclei by predicting parts of the image.

    The first estimate is made at the usual zoom. It is taken where it is near the size of nuclei in
    training. Otherwise the image is predicted again at the zoom that the estimate asks for, and
    where the second estimate agrees with the first, that zoom is kept, unless the second one is
    clearly smaller. Much larger nuclei are found in fragments at first, and much smaller ones as
    clumps: then a third estimate has to agree with the second one, with about the scores of the
    first. Where no two estimates agree, the usual zoom is kept.

    Args:
        network: the network that finds nuclei.
        source: the image.
        zoom: the usual zoom.
        wanted: the diameter of nuclei in training, in pixels as the network sees them.
        most_zoom: the largest zoom that is tried.
        whole_side: up to this side, in pixels as the network sees it, an image is looked at as a
            whole at the zoom that an estimate asks for: mostly that becomes the prediction.
    """

    def look(at: float, whole_side: int = _WHOLE_SIDE) -> _Look | None:
        return _look(network, source, min(at, most_zoom), whole_side)

    def settled(asked: _Look, seen: _Look) -> Estimate:
        """The estimate where the zoom that ``asked`` led to has shown ``seen``."""
        can_be_larger = wanted / asked.diameter < most_zoom
        if can_be_larger and seen.diameter < _SMALLER * asked.diameter:
            return Estimate(seen.diameter)
        return Estimate(asked.diameter, seen.view)

    usual = first = look(zoom)
    if usual is not None and _FITS[0] <= usual.diameter * zoom / wanted <= _FITS[1]:
        return Estimate(None, usual.view)
    if usual is None and not is_blank(source):
        for factor in _OTHER_ZOOMS:
            first = first or look(zoom * factor)
    stays = Estimate(None, usual and usual.view)
    second = first and look(wanted / first.diameter, whole_side)
    if second is None:
        return stays
    if _agree(first, second):
        return settled(first, second)
    third = look(wanted / second.diameter, whole_side)
    if third is None or not _agree(second, third) or third.score < first.score - _HARDLY:
        return stays
    return settled(second, third)


def _agree(one: _Look, other: _Look) -> bool:
    ratio = abs(math.log(one.diameter / other.diameter))
    return ratio <= math.log(_SAME_SIZE) and other.score >= one.score - _LESS_SURE


def _look(network: Network, source: ImageWindows, zoom: float, whole_side: int) -> _Look | None:
    """The size of the nuclei that score _SURE or more, else of all; None where there are none.

    Parts are seen of an image of more than ``whole_side`` pixels a side, as the network sees them.
    """
    areas, scores = [], []
    side = max(1, math.floor(whole_side / zoom))
    if max(source.size) > side:
        side = max(1, round(_PART_SIDE / zoom))
    parts = _parts(source.size, side)
    for part in parts:
        window = source.read(part)
        (view,) = network([(window, zoom)], usual_capacity(window.shape[:2], zoom))
        areas.extend(view.instances.pred_masks.areas.tolist())
        scores.extend(view.instances.scores.tolist())
        if len(scores) >= _ENOUGH:
            break
    if not scores:
        return None
    sure = np.array(scores) >= _SURE
    median = np.median(np.array(areas)[sure if sure.any() else ...])
    answer = view if len(parts) == 1 else None  # one part is the whole image
    return _Look(2 * math.sqrt(median / math.pi), float(np.mean(scores)), answer)


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
