import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import StandardRPNHead
from detectron2.structures import Boxes, pairwise_iou

from nucdet.modeling.mask_rcnn.dense_rpn import RepeatedRPNHead, match_in_parts


def random_boxes(count, seed):
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 100
    sizes = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1)) * 30 + 1
    return Boxes(torch.cat([corners, corners + sizes], dim=1))


@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_same_matches_as_detectron2_however_many_at_a_time(count, rows, low_quality):
    truth, anchors = random_boxes(count, 1), random_boxes(500, 3)
    matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=low_quality)
    expected_matches, expected_labels = matcher(pairwise_iou(truth, anchors))
    matches, labels = match_in_parts(truth, anchors, matcher, rows)
    assert labels.dtype == expected_labels.dtype
    assert torch.equal(labels, expected_labels)
    if count > 1:
        assert set(labels.tolist()) == {-1, 0, 1}
    # where nothing overlaps, the index says nothing
    overlapping = labels != 0
    assert torch.equal(matches[overlapping], expected_matches[overlapping])


@pytest.mark.parametrize("top", [500.0, 50.0])  # below all anchors, and beside them
def test_a_box_that_no_anchor_meets_changes_nothing(top):
    truth = Boxes(torch.tensor([[500.0, top, 510, top + 10]]))
    matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)
    # Detectron2 would take every anchor for its best
    assert not match_in_parts(truth, random_boxes(20, 3), matcher)[1].any()


def test_a_map_named_twice_is_looked_at_once_with_the_same_results():
    head = RepeatedRPNHead(in_channels=4, num_anchors=3)
    p2, p3 = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4)
    expected = StandardRPNHead.forward(head, [p2, p2, p3])
    sizes = []
    head.conv.register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[-1]))
    for found, wanted in zip(head([p2, p2, p3]), expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert sizes == [8, 4]
