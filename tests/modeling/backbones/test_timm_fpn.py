from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from timm.layers import FrozenBatchNormAct2d

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.modeling.backbones.timm_fpn import TimmBackbone, build_timm_fpn_backbone


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_maps_have_the_strides_and_channels_they_announce(name):
    backbone = TimmBackbone(name)
    maps = backbone(torch.zeros(1, 3, 64, 96))
    for key, shape in backbone.output_shape().items():
        assert maps[key].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)


def test_pyramid_reads_its_keys():
    cfg = load_config(overrides=["MODEL.FPN.OUT_CHANNELS", "32"])
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    pyramid = build_timm_fpn_backbone(cfg, ShapeSpec(channels=1))
    maps = pyramid(torch.zeros(1, 1, 64, 64))
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {
        "p2": (32, 16, 16),
        "p3": (32, 8, 8),
        "p4": (32, 4, 4),
        "p5": (32, 2, 2),
        "p6": (32, 1, 1),
    }


def test_frozen_batch_norm_keeps_its_activation():
    backbone = TimmBackbone("tf_efficientnet_lite0", norm="FrozenBN")
    norms = [m for m in backbone.modules() if isinstance(m, FrozenBatchNormAct2d)]
    assert norms
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())
    # ReLU6 follows the stem's norm
    assert float(backbone.body.bn1(torch.full((1, 32, 1, 1), 50.0)).max()) == 6.0


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_freezing_stops_where_it_says(name):
    counts = []
    for freeze_at in (0, 1, 2, 5):
        backbone = TimmBackbone(name, norm="BN", freeze_at=freeze_at)
        counts.append(sum(p.requires_grad for p in backbone.parameters()))
    assert counts[0] > counts[1] > counts[2] > counts[3] == 0
    backbone = TimmBackbone("resnet18", freeze_at=2)
    names = {n.split(".")[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert names == {"layer2", "layer3", "layer4"}


def test_frozen_batch_norms_keep_their_statistics():
    backbone = TimmBackbone("tf_efficientnet_lite0", norm="BN", freeze_at=2).train()
    before = {n: b.clone() for n, b in backbone.named_buffers() if n.endswith("running_mean")}
    backbone(torch.rand(2, 3, 64, 64))
    changed = {n for n, b in backbone.named_buffers() if n in before and not b.equal(before[n])}
    # the blocks of stride 4 are the second stage of timm's
    kept = {n for n in before if n.startswith(("body.bn1", "body.blocks.0.", "body.blocks.1."))}
    assert len(kept) > 5
    assert changed == before.keys() - kept


@pytest.mark.parametrize(
    ("name", "freeze_at", "message"),
    [
        ("efficientnet_lite9", 0, "timm does not know; it has efficientnet_lite4"),
        ("vit_tiny_patch16_224", 0, "has no feature map at stride"),
        ("convnext_atto", 1, r"FREEZE_AT is 1, .* strides \[4, 8, 16, 32\], and none 2"),
    ],
)
def test_a_network_that_does_not_fit_is_named(name, freeze_at, message):
    with pytest.raises(InputError, match=message):
        TimmBackbone(name, freeze_at=freeze_at)


def test_unknown_norm_is_named():
    with pytest.raises(ValueError, match=r"MODEL\.TIMM\.NORM is 'GN'"):
        TimmBackbone("resnet18", norm="GN")
