"""The RPN of report 000: its anchors, which of them count, and its losses."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch.nn import functional as F

SIDE = 96
K = 27  # 9 sizes × 3 shapes
NONE = torch.zeros(0, 4)


@pytest.fixture
def rpn(crop_rcnn):
    return crop_rcnn().proposal_generator


@pytest.fixture
def features():
    return {"res3": torch.rand(1, 8, SIDE // 8, SIDE // 8)}


def nuclei(*boxes) -> Instances:
    truth = Instances((SIDE, SIDE))
    truth.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32) if boxes else NONE)
    truth.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return truth


def find(anchors: Boxes, *box: float) -> int:
    """The index of the anchor that is this box."""
    is_it = (anchors.tensor - torch.tensor(box)).abs().amax(dim=1) < 1e-4
    assert is_it.sum() == 1
    return int(is_it.nonzero())


def test_anchors_of_8_to_128_every_8_pixels(rpn, features):
    anchors, logits, deltas = rpn.outputs(features)
    assert len(anchors) == (SIDE // 8) ** 2 * K
    assert logits.shape == (1, len(anchors)) and deltas.shape == (1, len(anchors), 4)
    center = (anchors.tensor[:, :2] + anchors.tensor[:, 2:]) / 2
    grid = torch.tensor([(x, y) for y, x in product(range(0, SIDE, 8), repeat=2)])
    torch.testing.assert_close(center, grid.float().repeat_interleave(K, dim=0))
    sides = (anchors.tensor[:, 2:] - anchors.tensor[:, :2])[:K]
    sizes = (8, 12, 16, 24, 32, 48, 64, 96, 128)
    expected = [(s * r**-0.5, s * r**0.5) for s in sizes for r in (0.5, 1, 2)]
    torch.testing.assert_close(sides, torch.tensor(expected))


def test_outputs_are_those_of_the_stock_rpn(rpn, features):
    """In the order of the anchors: the surest proposal is the surest output, decoded."""
    rpn.eval()
    torch.nn.init.normal_(rpn.rpn_head.objectness_logits.weight)
    anchors, logits, deltas = rpn.outputs(features)
    images = ImageList(torch.zeros(1, 1, SIDE, SIDE), [(SIDE, SIDE)])
    with torch.no_grad():
        proposals = rpn(images, features)[0][0]
    best = int(logits[0].argmax())
    decoded = rpn.box2box_transform.apply_deltas(deltas[0, best : best + 1], anchors[best].tensor)
    box = Boxes(decoded)
    box.clip((SIDE, SIDE))
    torch.testing.assert_close(proposals.objectness_logits[0], logits[0, best])
    torch.testing.assert_close(proposals.proposal_boxes.tensor[:1], box.tensor)


def test_anchors_across_the_border_are_left_out_in_training_and_clipped_in_testing(rpn, features):
    anchors = rpn.outputs(features)[0]
    truth = nuclei((24, 24, 40, 40), (-6, -6, 6, 6))
    _, labels = rpn.label_anchors(anchors, truth)
    assert labels[find(anchors, 24, 24, 40, 40)] == 1
    assert labels[find(anchors, -6, -6, 6, 6)] == -1  # a nucleus's own box, but across the border
    inside = ((anchors.tensor >= 0) & (anchors.tensor < SIDE)).all(dim=1)
    assert (labels[~inside] == -1).all() and (labels[inside] >= 0).any()
    rpn.eval()
    images = ImageList(torch.zeros(1, 1, SIDE, SIDE), [(SIDE, SIDE)])
    with torch.no_grad():
        proposals = rpn(images, features)[0][0].proposal_boxes.tensor
    assert proposals.min() == 0 and proposals.max() == SIDE


def test_a_negative_threshold_leaves_anchors_across_the_border(rpn, features):
    rpn.anchor_boundary_thresh = -1
    anchors = rpn.outputs(features)[0]
    _, labels = rpn.label_anchors(anchors, nuclei((-6, -6, 6, 6)))
    assert labels[find(anchors, -6, -6, 6, 6)] == 1


def test_positive_above_one_half_negative_below_a_tenth(rpn, features):
    anchors = rpn.outputs(features)[0]
    exact = find(anchors, 24, 24, 40, 40)
    for box, label in (
        ((24, 24, 40, 40), 1),
        ((24, 24, 40, 33), 1),  # IoU 9/16
        ((24, 24, 40, 32), -1),  # 1/2: not above
        ((24, 24, 40, 26), -1),  # 1/8
        ((24, 24, 40, 25.5), 0),  # 3/32; nobody's best anchor is positive for that alone
    ):
        assert rpn.label_anchors(anchors, nuclei(box))[1][exact] == label, box
    labels = rpn.label_anchors(anchors, nuclei((24, 24, 40, 25.5)))[1]
    assert not (labels == 1).any()
    matches, _ = rpn.label_anchors(anchors, nuclei((60, 60, 80, 80), (24, 24, 40, 40)))
    assert matches[exact] == 1


def test_equal_halves_of_at_most_100(rpn, features):
    anchors = rpn.outputs(features)[0]
    many = nuclei(*[(x, y, x + 16, y + 16) for x in (16, 40, 64) for y in (16, 40, 64)])
    for truth, expected in (
        (many, 50),
        (nuclei((24, 24, 40, 40)), None),  # few positives, as many negatives
    ):
        available = int((rpn.label_anchors(anchors, truth)[1] == 1).sum())
        labels = rpn.label_and_sample_anchors([anchors], [truth])[0][0]
        assert (labels == 1).sum() == (labels == 0).sum() == (expected or available)
    assert 0 < available < 50
    labels = rpn.label_and_sample_anchors([anchors], [nuclei()])[0][0]
    assert (labels == 1).sum() == 0 and (labels == 0).sum() == 50


def test_losses_of_known_outputs(rpn, features):
    """Logits of 1 everywhere and boxes that stay as the anchors are."""
    for layer in (rpn.rpn_head.objectness_logits, rpn.rpn_head.anchor_deltas):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.ones_(rpn.rpn_head.objectness_logits.bias)
    truth = nuclei((24, 24, 42, 44))
    anchors = rpn.outputs(features)[0]
    positive = anchors.tensor[rpn.label_anchors(anchors, truth)[1] == 1]
    sides = positive[:, 2:] - positive[:, :2]
    centers = positive[:, :2] + sides / 2
    wanted = torch.cat(
        [
            (torch.tensor([33.0, 34]) - centers) / sides,
            (torch.tensor([18.0, 20]) / sides).log(),
        ],
        dim=1,
    )
    assert wanted.abs().max() < 1
    box = 0.5 * wanted.square().mean()
    cross_entropy = (F.softplus(torch.tensor(-1.0)) + F.softplus(torch.tensor(1.0))) / 2

    measured = rpn.measure(features, [truth])[0]
    assert measured["rpn_objectness"] == (pytest.approx(float(cross_entropy)), 1)
    assert measured["rpn_box"] == (pytest.approx(float(box), rel=1e-4), 1)

    rpn.train()
    images = ImageList(torch.zeros(1, 1, SIDE, SIDE), [(SIDE, SIDE)])
    losses = rpn(images, features, [truth])[1]
    torch.testing.assert_close(losses["loss_rpn_cls"], cross_entropy)
    torch.testing.assert_close(losses["loss_rpn_loc"], 4 * box, rtol=1e-4, atol=0)


def test_a_image_without_nuclei_has_no_box_loss(rpn, features):
    measured = rpn.measure(features, [nuclei()])[0]
    assert measured["rpn_box"] == (0.0, 0)
    assert measured["rpn_objectness"][1] == 1 and measured["rpn_objectness"][0] > 0
