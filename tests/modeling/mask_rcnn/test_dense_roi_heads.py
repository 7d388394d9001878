import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead, StandardROIHeads
from detectron2.structures import Boxes, Instances
from torch import nn

from nucdet.modeling.mask_rcnn import dense_roi_heads
from nucdet.modeling.mask_rcnn.dense_roi_heads import DenseROIHeads


def build(kind):
    torch.manual_seed(0)
    shape = ShapeSpec(channels=4, width=6, height=6)
    return kind(
        box_in_features=[],
        box_pooler=nn.Identity(),
        box_head=nn.Identity(),
        box_predictor=nn.Identity(),
        mask_in_features=["p2"],
        mask_pooler=ROIPooler(6, [0.25], 0, "ROIAlignV2"),
        mask_head=MaskRCNNConvUpsampleHead(shape, num_classes=1, conv_dims=[4, 4]),
        num_classes=1,
        batch_size_per_image=8,
        positive_fraction=0.25,
        proposal_matcher=Matcher([0.5], [0, 1]),
    ).eval()


def detections(count):
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(count)) * 40
    boxes = Boxes(torch.cat([corners, corners + 12], dim=1))
    classes = torch.zeros(count, dtype=torch.int64)
    return Instances((64, 64), pred_boxes=boxes, pred_classes=classes)


@pytest.mark.parametrize("counts", [(7, 3, 0), (0, 0, 0), (3, 3, 3)])
def test_same_masks_as_all_at_once_but_some_at_a_time(counts, monkeypatch):
    monkeypatch.setattr(dense_roi_heads, "_DETECTIONS", 3)
    features = {"p2": torch.rand(3, 4, 16, 16)}
    heads = build(DenseROIHeads)
    seen = []
    heads.mask_head.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with torch.no_grad():
        expected = build(StandardROIHeads)._forward_mask(features, [*map(detections, counts)])
        found = heads._forward_mask(features, [*map(detections, counts)])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.allclose(one.pred_masks, other.pred_masks, atol=1e-6)
    assert sum(seen) == sum(counts) and max(seen) <= 3 * len(counts)
