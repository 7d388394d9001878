"""Which zoom is believed when the size of the nuclei is estimated from a first look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from nucdet.data.image_windows import ImageWindows
from nucdet.inference.diameter import estimate_diameter
from nucdet.structures import CroppedMasks


class Views:
    """Stands for a network: at each zoom so many squares of a side, with a score."""

    def __init__(self, views: dict[float, tuple[int, int, float]]):
        self.views = views

    def __call__(self, pictures):
        for image, zoom in pictures:
            nearest = min(self.views, key=lambda known: abs(np.log(known / zoom)))
            number, side, score = self.views[nearest]
            across = image.shape[1] // side
            corners = [(i // across * side, i % across * side) for i in range(number)]
            crops = [np.ones((side, side), bool)] * number
            masks = CroppedMasks(np.array(corners), crops, image.shape[:2])
            yield Instances(image.shape[:2], pred_masks=masks, scores=torch.full((number,), score))


def estimate(views: dict[float, tuple[int, int, float]]) -> float | None:
    picture = ImageWindows(np.zeros((640, 640), np.uint8))
    return estimate_diameter(Views(views), picture, 1.0, 31.0)


def diameter(side: int) -> float:
    return pytest.approx(2 * side / np.pi**0.5)


def test_sure_nuclei_of_a_fitting_size_are_left():
    assert estimate({1: (20, 50, 0.95), 1 / 3: (20, 150, 0.99), 3: (20, 10, 0.99)}) is None


def test_many_fragments_do_not_outweigh_nuclei():
    assert estimate({1: (9, 60, 0.7), 1 / 3: (9, 150, 0.95), 3: (10, 8, 0.95)}) == diameter(150)


def test_large_clumps_do_not_outweigh_nuclei():
    assert estimate({1: (10, 40, 0.6), 1 / 3: (2, 120, 0.95), 3: (90, 9, 0.95)}) == diameter(9)


def test_a_size_that_nearly_fits_is_left_only_where_nuclei_are_sure():
    views = {1: (20, 45, 0.8), 1 / 3: (20, 45, 0.95), 3: (4, 10, 0.5)}  # 45: 1.6 × 31
    assert estimate(views) == diameter(45)
    assert estimate(views | {1: (20, 45, 0.95)}) is None
    assert estimate(views | {1 / 3: (20, 35, 0.95)}) is None


def test_nothing_found_at_any_zoom():
    assert estimate({1: (0, 1, 0.0)}) is None
