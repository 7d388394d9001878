"""The losses of CropRCNN's parts, measured by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn
from torch.nn import functional as F

from nucdet.modeling.crop_rcnn.measures import measure_crops, measure_recall
from nucdet.structures import CroppedMasks

SIDE = 64
NUCLEUS = (8, 8, 40, 40)


def test_a_nucleus_is_found_above_one_half_among_the_first_proposals():
    nuclei = Boxes(torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]]))
    useless = torch.tensor([[0.0, 40, 5, 45]]).repeat(60, 1)
    proposals = torch.cat(
        [
            torch.tensor([[0.0, 0, 10, 6], [20, 20, 30, 25]]),  # IoU 0.6, and 0.5: not above
            useless,
            torch.tensor([[50.0, 50, 60, 60]]),  # the 63rd
        ]
    )
    measured = measure_recall(Boxes(proposals), nuclei)
    assert measured == {"recall_50": (1, 3), "recall_100": (2, 3), "recall_500": (2, 3)}
    assert measure_recall(Boxes(torch.zeros(0, 4)), nuclei)["recall_500"] == (0, 3)
    assert measure_recall(Boxes(proposals), Boxes(torch.zeros(0, 4)))["recall_50"] == (0, 0)


class Heads:
    """In the place of CropROIHeads: a filter and a mask network with known answers."""

    def __init__(self):
        self.mask_head = nn.Module()
        self.mask_head.layers = lambda crops: torch.ones_like(crops)  # logits of 1
        self.nucleus_filter = BrightFilter()


class BrightFilter:
    """Crops with a mean above 1/2 are nuclei: logits of 2 and of -1."""

    def __call__(self, crops):
        return torch.where(crops.mean(dim=(1, 2, 3)) > 0.5, 2.0, -1.0)

    def probabilities(self, image, boxes):
        x0, y0, x1, y1 = boxes[0].tensor.int().T.tolist() if len(boxes[0]) else [[]] * 4
        means = [image[0, 0, b:d, a:c].mean() for a, b, c, d in zip(x0, y0, x1, y1, strict=True)]
        return [(torch.tensor(means) > 0.5).float()]


def scene(filled: float = 1.0):
    """One nucleus of 32 × 32, of which the mask holds the upper part; image and truth."""
    image = torch.zeros(1, 1, SIDE, SIDE)
    x0, y0, x1, y1 = NUCLEUS
    image[0, 0, y0:y1, x0:x1] = 1
    dense = np.zeros((1, SIDE, SIDE), bool)
    dense[0, y0 : y0 + int(filled * 32), x0:x1] = True
    truth = Instances((SIDE, SIDE))
    truth.gt_masks = CroppedMasks.from_dense(dense)
    truth.gt_boxes = Boxes(torch.tensor([NUCLEUS], dtype=torch.float32))
    return image, truth


def test_cross_entropy_of_known_answers():
    image, truth = scene(filled=0.75)
    proposals = Boxes(torch.tensor([[50.0, 50, 60, 60], [8, 8, 40, 40], [0, 44, 9, 60]]))
    others = torch.stack([torch.zeros(1, 32, 32), torch.zeros(1, 32, 32), torch.ones(1, 32, 32)])
    measured = measure_crops(Heads(), image, truth, proposals, others)
    total, count = measured["mask"]
    assert count == 32 * 32
    right, wrong = (float(F.softplus(torch.tensor(x))) for x in (-1.0, 1.0))
    assert total / count == pytest.approx(0.75 * right + 0.25 * wrong, rel=1e-4)
    # the nucleus and two others are told, the bright other is not
    total, count = measured["filter"]
    assert count == 4
    assert total == pytest.approx(math.log1p(math.exp(-2)) + 2 * right + math.log1p(math.exp(2)))
    assert measured["filter_accuracy"] == (3, 4)
    # of the three proposals two are false, and both dark
    assert measured["filter_false"] == (2, 2)


def test_background_of_the_image_is_the_same_each_time():
    image, truth = scene()
    nothing = Boxes(torch.zeros(0, 4))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = measure_crops(Heads(), image, truth, nothing)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's numbers change
    assert first == measure_crops(Heads(), image, truth, nothing)
    assert first["filter_accuracy"] == (first["filter"][1],) * 2
    assert first["filter_false"] == (0, 0)


def test_a_image_without_nuclei():
    image, truth = scene()
    measured = measure_crops(Heads(), image, truth[:0], Boxes(torch.zeros(0, 4)))
    assert measured["mask"] == (0, 0)
    assert measured["filter_accuracy"][1] == 1  # a box of background


def test_without_a_filter_only_masks_are_measured():
    heads = Heads()
    heads.nucleus_filter = None
    assert set(measure_crops(heads, *scene(), Boxes(torch.zeros(0, 4)))) == {"mask"}
