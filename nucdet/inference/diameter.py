"""How large the nuclei of a picture are, so that it can be shown to the network at their size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nucdet.data.image_windows import Box, ImageWindows
from nucdet.errors import InputError
from nucdet.inference.network import Network

_LOOK_SIDE = 640  # pixels, as the network sees them, of a part that is looked at
_ENOUGH = 10  # nuclei; fewer, and further parts of the picture are looked at
_OTHER_ZOOMS = (1 / 3, 3.0)  # on the usual one
_SURE = 0.9
# Nuclei this large, as a share of the size in training, are left as they are: where they are found
# with high scores, and where not (benchmarks/diameter.py, lite0).
_FITS = (0.65, 2.2)
_FITS_UNSURE = (0.65, 1.35)


class _Look(NamedTuple):
    diameter: float  # median, pixels of the picture; NaN where nothing was found
    score: float  # mean
    # Number × area of the nuclei with a score of at least _SURE, both per pixel of the picture:
    # fragments are many but cover little, clumps cover much but are few.
    evidence: float


def check_diameter(diameter: float | str | None) -> None:
    """Raise InputError unless it is a number of pixels, "auto" or None."""
    if diameter is None or (isinstance(diameter, str) and diameter == "auto"):
        return
    if isinstance(diameter, str) or not 1 <= diameter < np.inf:
        raise InputError(f"diameter is {diameter!r}; expected a number of pixels >= 1 or 'auto'")


def estimate_diameter(
    network: Network, source: ImageWindows, zoom: float, wanted: float
) -> float | None:
    """The median diameter of the nuclei in a first look at parts of the picture.

    Nuclei much smaller than in training are found as clumps with low scores, much larger ones in
    fragments. Where the usual zoom shows nuclei of a fitting size with high scores, that is it;
    else the zoom with the most evidence is believed, and its diameter looked at again.

    Args:
        network: what finds nuclei.
        source: the picture.
        zoom: the usual one.
        wanted: diameter in training, in pixels as the network sees them.

    Returns:
        Pixels of the picture; None where the usual zoom serves, or nothing was found at any.
    """
    usual = _look(network, source, zoom)
    if usual.score >= _SURE and _fits(usual.diameter * zoom / wanted, _FITS):
        return None
    others = [_look(network, source, zoom * factor) for factor in _OTHER_ZOOMS]
    best = max([usual, *others], key=lambda look: (look.evidence, look.score))
    if np.isnan(best.diameter):
        return None
    again = _look(network, source, wanted / best.diameter)
    diameter = again.diameter if again.evidence >= best.evidence else best.diameter
    return None if _fits(diameter * zoom / wanted, _FITS_UNSURE) else diameter


def _fits(share: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= share <= limits[1]


def _look(network: Network, source: ImageWindows, zoom: float) -> _Look:
    areas, scores, looked_at = [], [], 0
    for part in _parts(source.size, max(1, round(_LOOK_SIDE / zoom))):
        (found,) = network([(source.read(part), zoom)])
        areas.extend(found.pred_masks.areas.tolist())
        scores.extend(found.scores.tolist())
        looked_at += (part[0].stop - part[0].start) * (part[1].stop - part[1].start)
        if len(scores) >= _ENOUGH:
            break
    if not scores:
        return _Look(np.nan, 0.0, 0.0)
    sure = np.array(areas)[np.array(scores) >= _SURE]
    diameter = 2 * np.sqrt(np.median(areas) / np.pi)
    return _Look(diameter, float(np.mean(scores)), len(sure) * sure.sum() / looked_at**2)


def _parts(size: tuple[int, int], side: int) -> list[Box]:
    """The middle of a picture, then the middles of its quarters."""
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
