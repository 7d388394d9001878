"""Which zoom is believed when the size of the nuclei is estimated from a first look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from nucdet.data.io.windows import ImageWindows
from nucdet.predict.diameter import estimate_diameter
from nucdet.predict.network import NetworkOutput
from nucdet.predict.planning import plan_tiles
from nucdet.structures import CroppedMasks


class Views:
    """Stands for a network: what it finds at each zoom, as (number, side of squares, score)."""

    def __init__(self, views: dict[float, list[tuple[int, int, float]]]):
        self.views, self.asked, self.images = views, [], []

    def __call__(self, images, capacity=1.0):
        self.capacity = capacity
        for image, zoom in images:
            self.asked.append(zoom)
            self.images.append(image)
            seen = self.views[min(self.views, key=lambda known: abs(np.log(known / zoom)))]
            corners, crops, scores = [], [], []
            for number, side, score in seen:
                across = image.shape[1] // side
                corners += [(i // across * side, i % across * side) for i in range(number)]
                crops += [np.ones((side, side), bool)] * number
                scores += [score] * number
            masks = CroppedMasks(np.array(corners).reshape(-1, 2), crops, image.shape[:2])
            found = Instances(image.shape[:2], pred_masks=masks, scores=torch.tensor(scores))
            yield NetworkOutput(found)


IMAGE = ImageWindows(np.kron(np.eye(8), np.full((80, 80), 200)).astype(np.uint8))


def estimate(views: dict[float, list[tuple[int, int, float]]]) -> float | None:
    return estimate_diameter(Views(views), IMAGE, 1.0, 31.0).diameter


def diameter(side: int) -> float:
    return pytest.approx(2 * side / np.pi**0.5)


@pytest.mark.parametrize("side", [25, 50])
def test_nuclei_of_about_the_size_in_training_are_left(side):
    network = Views({1: [(20, side, 0.7)], 1 / 3: [(20, 150, 0.99)], 3: [(20, 10, 0.99)]})
    found = estimate_diameter(network, IMAGE, 1.0, 31.0)
    assert found.diameter is None
    assert network.asked == [1.0]
    # the look was the prediction
    assert len(found.output.instances) == 20


def test_a_second_look_that_finds_the_same_size_is_believed():
    network = Views({1: [(10, 80, 0.95)], 0.34: [(12, 85, 0.9)]})
    found = estimate_diameter(network, IMAGE, 1.0, 31.0)
    assert found.diameter == diameter(80)
    assert network.asked == [1.0, 31 / found.diameter]
    assert len(found.output.instances) == 12
    assert estimate({1: [(30, 12, 0.95)], 2.3: [(60, 11, 0.95)]}) == diameter(12)


def test_nuclei_that_turn_out_smaller_are_shown_larger():
    network = Views({1: [(30, 14, 0.95)], 2.0: [(60, 11, 0.95)]})
    found = estimate_diameter(network, IMAGE, 1.0, 31.0)
    # that look was at another zoom than the prediction will be
    assert found == (diameter(11), None)
    # three estimates
    assert estimate({1: [(30, 14, 0.9)], 2: [(60, 6, 0.95)], 4.6: [(90, 5, 0.95)]}) == diameter(5)
    # it cannot be shown any larger
    found = estimate_diameter(network, IMAGE, 1.0, 31.0, most_zoom=1.9, whole_side=2048)
    assert found.diameter == diameter(14)
    assert len(found.output.instances) == 60


def test_clumps_of_small_nuclei_and_fragments_of_large_ones_need_a_third_look():
    assert estimate({1: [(30, 12, 0.9)], 2.3: [(60, 4, 0.95)]}) == diameter(4)
    assert estimate({1: [(10, 80, 0.9)], 0.34: [(9, 200, 0.95)]}) == diameter(200)
    # unsure ones do not count where others are sure
    views = {1: [(30, 30, 0.65), (10, 80, 0.95)], 0.34: [(10, 90, 0.95)]}
    assert estimate(views) == diameter(80)
    # where most of what would be kept is small, a few surer large ones do not speak for all
    views = {1: [(30, 20, 0.75), (10, 40, 0.95)], 1.4: [(40, 20, 0.8)]}
    assert estimate(views) == diameter(20)


@pytest.mark.parametrize(
    "views",
    [
        # specks at every zoom, each time of another size
        {1: [(100, 12, 0.7)], 2.3: [(40, 22, 0.7)], 1.25: [(400, 10, 0.7)]},
        # of the same size, but less sure than at first
        {1: [(100, 12, 0.9)], 2.3: [(157, 11, 0.7)]},
        {1: [(100, 12, 0.9)], 2.3: [(157, 5, 0.9)], 5.5: [(150, 5, 0.8)]},
        {1: [(100, 12, 0.9)], 2.3: []},
    ],
    ids=["no two agree", "second less sure", "third less sure", "nothing"],
)
def test_the_first_look_stays_where_the_others_do_not_confirm_it(views):
    found = estimate_diameter(Views(views), IMAGE, 1.0, 31.0)
    assert found.diameter is None
    assert len(found.output.instances) == 100


def test_nothing_found_as_usual():
    assert estimate({1: [], 1 / 3: [(9, 150, 0.95)], 3: []}) == diameter(150)
    # the usual zoom shows nothing, though the size would fit
    assert estimate({1: [], 1 / 3: [], 3: [(10, 30, 0.95)], 0.9: [(10, 30, 0.95)]}) == diameter(30)
    assert estimate({1: [], 1 / 3: [], 3: []}) is None


def test_a_blank_image_is_looked_at_once():
    network = Views({1: []})
    blank = ImageWindows(np.zeros((640, 640), np.uint8))
    assert estimate_diameter(network, blank, 1.0, 31.0) == (None, None)
    assert network.asked == [1.0]


def test_no_look_is_closer_than_allowed():
    network = Views({1: [(30, 3, 0.95)], 2: [(30, 3, 0.95)]})
    found = estimate_diameter(network, IMAGE, 1.0, 31.0, most_zoom=2.0)
    assert found.diameter == diameter(3)
    assert network.asked == [1.0, 2.0]


def test_a_large_image_is_looked_at_in_its_center_and_in_the_centers_of_its_quadrants():
    network = Views({1: [(1, 30, 0.9)]})  # so few that all parts are looked at
    rows, columns = np.indices((200, 250)).astype(np.uint8)
    source = ImageWindows(np.stack([rows, columns, columns], axis=2))
    estimate_diameter(network, source, 4.0, 31.0)
    first_and_last = [image[[0, -1], [0, -1], :2].ravel().tolist() for image in network.images]
    # the sides are 384 pixels of the network's input; after these looks comes the second one
    assert first_and_last[:-1] == [
        [52, 77, 147, 172],
        [2, 14, 97, 109],
        [102, 140, 197, 235],
        [2, 140, 97, 235],
        [102, 14, 197, 109],
    ]


def test_a_part_of_a_large_image_is_no_prediction_of_it():
    network = Views({1: [(20, 30, 0.9)]})
    large = ImageWindows(np.zeros((900, 640), np.uint8))
    assert estimate_diameter(network, large, 1.0, 31.0) == (None, None)


def test_a_second_look_at_all_of_a_large_image_is_its_prediction():
    network = Views({1: [(60, 12, 0.95)], 2.3: [(60, 11, 0.95)]})
    large = ImageWindows(np.zeros((700, 300), np.uint8))
    estimated = estimate_diameter(network, large, 1.0, 31.0, whole_side=2048)
    assert len(estimated.output.instances) == 60
    assert estimated.output.instances.image_size == (700, 300)
    # twice as many pixels as the limits of an R-CNN are meant for
    assert network.capacity == pytest.approx(700 * 300 * network.asked[-1] ** 2 / 2**19)
    assert network.capacity > 2
    assert estimate_diameter(network, large, 1.0, 31.0, whole_side=1024).output is None


@pytest.mark.parametrize("size, zoom", [((100, 80), 2), ((5, 300), 2), ((300, 320), 512 / 300)])
def test_small_images_are_not_enlarged_more_than_those_of_training(size, zoom):
    network = Views({2: [(12, 4, 0.9)]})
    network.zoom = lambda height, width: 512 / min(height, width)
    source = ImageWindows(np.full(size, 200, np.uint8))
    # 4.5 pixels in diameter: at any of these zooms about as large as in training
    assert plan_tiles(network, source, 8.0, "auto").zoom == pytest.approx(zoom)
    # evaluation without a diameter follows its config
    assert plan_tiles(network, source, 8.0, None).zoom == 512 / min(size)
