import copy

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import MaskRCNNConvUpsampleHead
from torch import nn

from nucdet.modeling.mask_rcnn.fast_mask_head import FastMaskHead


@pytest.mark.parametrize(("count", "classes"), [(3, 1), (2, 3), (0, 1)])
def test_same_logits_and_gradients_as_detectron2s(count, classes):
    torch.manual_seed(0)
    shape = ShapeSpec(channels=4, width=6, height=6)
    usual = MaskRCNNConvUpsampleHead(shape, num_classes=classes, conv_dims=[5, 5, 6])
    nn.init.normal_(usual.predictor.weight)
    nn.init.normal_(usual.deconv.bias)
    fast = copy.deepcopy(usual)
    FastMaskHead.convert(fast)
    assert type(fast) is FastMaskHead and [*fast.state_dict()] == [*usual.state_dict()]
    x = torch.randn(count, 4, 6, 6)
    expected, found = usual.layers(x), fast.layers(x)
    assert found.shape == (count, classes, 12, 12)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    upstream = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(found, [*fast.parameters()], upstream),
        torch.autograd.grad(expected, [*usual.parameters()], upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
