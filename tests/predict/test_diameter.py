"""Which zoom is believed when the size of the nuclei is estimated from a first look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from nucdet.data.io.windows import ImageWindows
from nucdet.predict.diameter import estimate_diameter
from nucdet.structures import CroppedMasks


class Views:
    """Stands for a network: what it finds at each zoom, as (number, side of squares, score)."""

    def __init__(self, views: dict[float, list[tuple[int, int, float]]]):
        self.views, self.asked = views, []

    def __call__(self, images):
        for image, zoom in images:
            self.asked.append(zoom)
            seen = self.views[min(self.views, key=lambda known: abs(np.log(known / zoom)))]
            corners, crops, scores = [], [], []
            for number, side, score in seen:
                across = image.shape[1] // side
                corners += [(i // across * side, i % across * side) for i in range(number)]
                crops += [np.ones((side, side), bool)] * number
                scores += [score] * number
            masks = CroppedMasks(np.array(corners).reshape(-1, 2), crops, image.shape[:2])
            yield Instances(image.shape[:2], pred_masks=masks, scores=torch.tensor(scores))


def estimate(views: dict[float, list[tuple[int, int, float]]]) -> float | None:
    return estimate_diameter(Views(views), IMAGE, 1.0, 31.0)


def diameter(side: int) -> float:
    return pytest.approx(2 * side / np.pi**0.5)


IMAGE = ImageWindows(np.zeros((640, 640), np.uint8))


@pytest.mark.parametrize("side", [24, 50])
def test_nuclei_of_about_the_size_in_training_are_left(side):
    network = Views({1: [(20, side, 0.7)], 1 / 3: [(20, 150, 0.99)], 3: [(20, 10, 0.99)]})
    assert estimate_diameter(network, IMAGE, 1.0, 31.0) is None
    assert network.asked == [1.0]


def test_clumps_of_small_nuclei_are_looked_at_again():
    assert estimate({1: [(30, 12, 0.95)], 2.3: [(60, 4, 0.95)]}) == diameter(4)
    assert estimate({1: [(30, 12, 0.95)], 2.3: [(60, 11, 0.95)]}) == diameter(12)


def test_fragments_of_large_nuclei_are_looked_at_again():
    assert estimate({1: [(10, 80, 0.95)], 0.34: [(9, 200, 0.95)]}) == diameter(200)
    # unsure ones do not count where others are sure
    views = {1: [(30, 30, 0.7), (10, 80, 0.95)], 0.34: [(10, 90, 0.95)]}
    assert estimate(views) == diameter(80)


def test_nothing_found_as_usual():
    assert estimate({1: [], 1 / 3: [(9, 150, 0.95)], 3: []}) == diameter(150)
    # the usual zoom shows nothing, though the size would fit
    assert estimate({1: [], 1 / 3: [], 3: [(10, 30, 0.95)]}) == diameter(30)
    assert estimate({1: [], 1 / 3: [], 3: []}) is None


def test_no_look_is_closer_than_allowed():
    network = Views({1: [(30, 3, 0.95)], 2: [(30, 3, 0.95)]})
    assert estimate_diameter(network, IMAGE, 1.0, 31.0, most_zoom=2.0) == diameter(3)
    assert network.asked == [1.0, 2.0]
