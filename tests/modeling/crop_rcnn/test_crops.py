"""Crops and boxes on images whose answers are known by hand."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from nucdet.modeling.crop_rcnn.crops import (
    background_boxes,
    cut_crops,
    false_proposals,
    jitter_boxes,
    random_indices,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_a_crop_of_its_own_size_is_the_pixels_that_its_box_names():
    image = torch.rand(2, 1, 64, 80)
    boxes = [torch.tensor([[5.0, 9, 37, 41], [48, 32, 80, 64]]), torch.tensor([[0.0, 0, 32, 32]])]
    crops = cut_crops(image, boxes, 32)
    expected = [image[0, :, 9:41, 5:37], image[0, :, 32:64, 48:80], image[1, :, :32, :32]]
    torch.testing.assert_close(crops, torch.stack(expected))


def test_a_larger_box_is_averaged_whatever_its_shape():
    image = torch.rand(1, 1, 96, 96)
    crop = cut_crops(image, [torch.tensor([[16.0, 0, 80, 96]])], 32)  # 64 wide, 96 high
    means = image[:, :, :, 16:80].reshape(32, 3, 32, 2).mean(dim=(1, 3))
    torch.testing.assert_close(crop[0, 0], means)


def test_sixteen_bits_do_not_move_the_corners():
    image = torch.rand(1, 1, 16, 600)
    box = torch.tensor([[517.0, 3, 525, 11]])  # bfloat16 knows 516 and 520
    with torch.autocast("cpu", torch.bfloat16):
        crop = cut_crops(image, [box], 8)
    torch.testing.assert_close(crop[0, 0], image[0, 0, 3:11, 517:525])


def test_no_boxes_no_crops():
    assert cut_crops(torch.rand(1, 1, 40, 40), [torch.zeros(0, 4)], 32).shape == (0, 1, 32, 32)


def test_jitter_moves_and_grows_within_its_amount():
    boxes = Boxes(torch.tensor([[40.0, 50, 60, 90]]).repeat(500, 1))
    jittered = jitter_boxes(boxes, 0.2, (200, 200)).tensor
    center, side = (jittered[:, :2] + jittered[:, 2:]) / 2, jittered[:, 2:] - jittered[:, :2]
    moved = (center - torch.tensor([50.0, 70])) / torch.tensor([20.0, 40])
    grown = (side / torch.tensor([20.0, 40])).log()
    for change in (moved, grown):
        assert 0.15 < change.abs().max() <= 0.2 + 1e-4
        assert change.min() < -0.1 and change.max() > 0.1
    assert torch.equal(jitter_boxes(boxes, 0.0, (200, 200)).tensor, boxes.tensor)


def test_jittered_boxes_stay_in_the_image():
    boxes = Boxes(torch.tensor([[0.0, 0, 20, 20], [80, 30, 100, 50]]).repeat(50, 1))
    jittered = jitter_boxes(boxes, 0.5, (50, 100)).tensor
    assert jittered.min() >= 0 and jittered[:, 2].max() <= 100 and jittered[:, 3].max() <= 50
    assert len(jitter_boxes(Boxes(torch.zeros(0, 4)), 0.2, (50, 100))) == 0


def test_background_holds_no_nucleus_and_has_the_size_of_one():
    nuclei = Boxes(torch.tensor([[10.0, 10, 22, 26], [60, 60, 72, 76]]))
    found = background_boxes(nuclei, 40, (128, 128))
    assert len(found) == 40
    assert (pairwise_iou(nuclei, found) < 0.1).all()
    sides = found.tensor[:, 2:] - found.tensor[:, :2]
    torch.testing.assert_close(sides, torch.tensor([12.0, 16]).expand(40, 2))
    assert found.tensor.min() >= 0 and found.tensor.max() <= 128


def test_background_of_a_image_full_of_nuclei_or_without_one():
    assert len(background_boxes(Boxes(torch.tensor([[0.0, 0, 50, 50]])), 16, (50, 50))) == 0
    found = background_boxes(Boxes(torch.zeros(0, 4)), 16, (30, 50)).tensor
    assert len(found) == 16
    assert found.min() >= 0 and found[:, 2].max() <= 50 and found[:, 3].max() <= 30
    assert ((found[:, 2:] - found[:, :2]) >= 8 - 1e-4).all()


def test_false_proposals_are_the_surest_that_meet_no_nucleus():
    nuclei = Boxes(torch.tensor([[0.0, 0, 10, 10]]))
    corners = [[0.0, 0, 10, 10], [9, 9, 19, 19], [30, 0, 40, 9], [5, 5, 9, 9]]
    proposals = Boxes(torch.tensor(corners))  # IoU 1, 1/199, 0, 16/100
    assert torch.equal(false_proposals(proposals, nuclei, 9).tensor, proposals.tensor[1:3])
    assert torch.equal(false_proposals(proposals, nuclei, 1).tensor, proposals.tensor[1:2])
    assert len(false_proposals(proposals, Boxes(torch.zeros(0, 4)), 9)) == 4


def test_some_are_different_ones():
    chosen = random_indices(30, 20, torch.device("cpu"))
    assert len(chosen.unique()) == 20 and chosen.max() < 30
    assert sorted(random_indices(3, 20, torch.device("cpu")).tolist()) == [0, 1, 2]
