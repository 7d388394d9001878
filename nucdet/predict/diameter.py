"""Estimates the diameter of an image's nuclei, which determines its zoom."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nucdet.data.io.windows import Box, ImageWindows
from nucdet.predict.blank import is_blank
from nucdet.predict.network import Network, NetworkOutput, usual_capacity

# Images up to this side, in pixels of the network's input, are predicted whole, and the result may
# serve as the final prediction. Of larger images, parts of the second side are predicted.
_PROBE_SIDE = 640
_PART_SIDE = 384
# further parts of the image are predicted until this many nuclei are found
_MIN_NUCLEI = 10
# factors on the usual zoom that are tried if no nucleus is found at the usual zoom
_FALLBACK_FACTORS = (3.0, 1 / 3)
# The diameter is measured on nuclei with at least this score if there are any, because fragments of
# very large nuclei and clumps of very small ones score lower. With 0.9 only the large nuclei would
# be measured in stained tissue (docs/experiments.md).
_CONFIDENT_SCORE = 0.7
# If the nuclei's diameter, relative to that in training, is in this range at the usual zoom, they
# are found equally well there, so the image is not rescaled.
_GOOD_RANGE = (0.9, 2.0)
# Two estimates agree if the larger is at most this many times the smaller, and the second one's
# mean score is lower by at most this much (it was lower by up to 0.06 for correct estimates).
_MAX_RATIO = 1.5
_MAX_SCORE_DROP = 0.1
# by how much the mean score of a third estimate may be lower than that of the first
_MAX_SCORE_DROP_OF_THIRD = 0.02
# If the nuclei found at the new zoom are smaller than this share of the estimate that led to it,
# that estimate had missed the small ones, and the image is enlarged further.
_SMALLER = 0.9


class Estimate(NamedTuple):
    """The estimated diameter of the nuclei of an image.

    Attributes:
        diameter: in pixels of the image; None: the usual zoom is kept.
        output: the network's output at the resulting zoom, if it was computed for the whole image.
    """

    diameter: float | None
    output: NetworkOutput | None = None


class _Probe(NamedTuple):
    """The nuclei found at one zoom."""

    diameter: float  # median over the nuclei, in pixels of the image
    score: float  # mean over the nuclei
    output: NetworkOutput | None  # if it was computed for the whole image


def estimate_diameter(
    network: Network,
    source: ImageWindows,
    zoom: float,
    wanted: float,
    most_zoom: float = np.inf,
    whole_side: int = _PROBE_SIDE,
) -> Estimate:
    """Estimate the median diameter of the nuclei by predicting the image or parts of it.

    The first estimate is made at the usual zoom, which is kept if the nuclei are about as large
    there as in training. Otherwise the image is predicted again at the zoom that follows from the
    estimate, and if the second estimate agrees with the first, that zoom is used (or, if the second
    one is clearly smaller, the zoom that follows from it). Much larger nuclei are first found as
    fragments, and much smaller ones as clumps, so that the first two estimates differ: then a third
    one must agree with the second and have about the mean score of the first. If no two consecutive
    estimates agree, the usual zoom is kept.

    Args:
        network: the network that finds nuclei.
        source: the image.
        zoom: the usual zoom.
        wanted: the diameter of nuclei in training, in pixels of the network's input.
        most_zoom: the largest zoom that is tried.
        whole_side: at a zoom that follows from an estimate, an image up to this side, in pixels of
            the network's input, is predicted whole, because the result usually becomes the final
            prediction.
    """

    def probe(at: float, side: int = _PROBE_SIDE) -> _Probe | None:
        return _probe(network, source, min(at, most_zoom), side)

    def settled(before: _Probe, after: _Probe) -> Estimate:
        """The estimate, given that the zoom which follows from ``before`` has shown ``after``."""
        can_be_larger = wanted / before.diameter < most_zoom
        if can_be_larger and after.diameter < _SMALLER * before.diameter:
            return Estimate(after.diameter)
        return Estimate(before.diameter, after.output)

    usual = first = probe(zoom)
    if usual is not None and _GOOD_RANGE[0] <= usual.diameter * zoom / wanted <= _GOOD_RANGE[1]:
        return Estimate(None, usual.output)
    if usual is None and not is_blank(source):
        for factor in _FALLBACK_FACTORS:
            first = first or probe(zoom * factor)
    unchanged = Estimate(None, None if usual is None else usual.output)
    if first is None:
        return unchanged
    second = probe(wanted / first.diameter, whole_side)
    if second is None:
        return unchanged
    if _agree(first, second):
        return settled(first, second)
    third = probe(wanted / second.diameter, whole_side)
    if third is None or not _agree(second, third):
        return unchanged
    if third.score < first.score - _MAX_SCORE_DROP_OF_THIRD:
        return unchanged
    return settled(second, third)


def _agree(one: _Probe, other: _Probe) -> bool:
    ratio = abs(math.log(one.diameter / other.diameter))
    return ratio <= math.log(_MAX_RATIO) and other.score >= one.score - _MAX_SCORE_DROP


def _probe(network: Network, source: ImageWindows, zoom: float, whole_side: int) -> _Probe | None:
    """Predict the image, or parts of it, at one zoom; None if no nuclei are found.

    Parts are predicted if the image is larger than ``whole_side``, in pixels of the network's
    input. The diameter is that of the nuclei with a score of at least _CONFIDENT_SCORE, or of all
    nuclei if there are none.
    """
    areas, scores = [], []
    side = max(1, math.floor(whole_side / zoom))
    if max(source.size) > side:
        side = max(1, round(_PART_SIDE / zoom))
    parts = _parts(source.size, side)
    for part in parts:
        window = source.read(part)
        (output,) = network([(window, zoom)], usual_capacity(window.shape[:2], zoom))
        areas.extend(output.instances.pred_masks.areas.tolist())
        scores.extend(output.instances.scores.tolist())
        if len(scores) >= _MIN_NUCLEI:
            break
    if not scores:
        return None
    is_confident = np.array(scores) >= _CONFIDENT_SCORE
    median = np.median(np.array(areas)[is_confident if is_confident.any() else ...])
    whole = output if len(parts) == 1 else None  # a single part is the whole image
    return _Probe(2 * math.sqrt(median / math.pi), float(np.mean(scores)), whole)


def _parts(size: tuple[int, int], side: int) -> list[Box]:
    """Windows at the center of an image and at the centers of its quadrants; one if all fits."""
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
