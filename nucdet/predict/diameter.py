"""How large the nuclei of an image are, so that it can be shown to the network at their size."""

from __future__ import annotations

import numpy as np

from nucdet.data.io.windows import Box, ImageWindows
from nucdet.predict.network import Network

_LOOK_SIDE = 640  # pixels, as the network sees them, of a part that is looked at
_ENOUGH = 10  # nuclei; fewer, and further parts of the image are looked at
_OTHER_ZOOMS = (3.0, 1 / 3)  # on the usual one, where it shows nothing
_SURE = 0.9  # a score; fragments of very large nuclei, and clumps of very small ones, have lower
# Nuclei this large, as a share of the size in training, are found as well as they are, so the
# image is left alone (benchmarks/diameter.py; chosen on 32 images of DSB2018 at 0.25× to 12×).
_FITS = (0.8, 2.0)


def estimate_diameter(
    network: Network, source: ImageWindows, zoom: float, wanted: float, most_zoom: float = np.inf
) -> float | None:
    """The median diameter of the nuclei in a first look at parts of the image.

    What the usual zoom shows is believed where it is near the size in training. Else the image is
    looked at once more as that size asks: much larger nuclei are found in fragments at first, much
    smaller ones as clumps.

    Args:
        network: what finds nuclei.
        source: the image.
        zoom: the usual one.
        wanted: diameter in training, in pixels as the network sees them.
        most_zoom: the largest zoom to look with.

    Returns:
        Pixels of the image; None where the usual zoom serves, or nothing was found at any.
    """
    for factor in (1.0, *_OTHER_ZOOMS):
        first = _look(network, source, min(zoom * factor, most_zoom))
        if first is not None:
            break
    else:
        return None
    if factor == 1 and _fits(first * zoom / wanted):
        return None
    shown = min(wanted / first, most_zoom)
    again = _look(network, source, shown)
    return first if again is None or _fits(again * shown / wanted) else again


def _fits(share: float) -> bool:
    return _FITS[0] <= share <= _FITS[1]


def _look(network: Network, source: ImageWindows, zoom: float) -> float | None:
    """Median diameter, in pixels of the image, of the sure nuclei; where none is, of all."""
    areas, scores = [], []
    for part in _parts(source.size, max(1, round(_LOOK_SIDE / zoom))):
        (found,) = network([(source.read(part), zoom)])
        areas.extend(found.pred_masks.areas.tolist())
        scores.extend(found.scores.tolist())
        if len(scores) >= _ENOUGH:
            break
    if not scores:
        return None
    sure = np.array(scores) >= _SURE
    return float(2 * np.sqrt(np.median(np.array(areas)[sure if sure.any() else ...]) / np.pi))


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
