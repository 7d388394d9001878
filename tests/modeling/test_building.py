"""Mistakes in the keys of MODEL, and bugs in a network, are told apart."""

from __future__ import annotations

import pytest
from detectron2.modeling import META_ARCH_REGISTRY

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.modeling.building import build_network

CONFIG = "quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.ANCHOR_GENERATOR.SIZES", "[[8], [16]]", "sizes of length 2 .* in anchor_generator"),
        ("MODEL.FPN.FUSE_TYPE", "most", r"at `assert fuse_type in .*, in fpn\.py"),
        ("MODEL.RPN.IN_FEATURES", "['p9']", r"KeyError: 'p9', in rpn\.py"),
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "only support class-agnostic"),
    ],
)
def test_what_detectron2_refuses_is_one_line(key, value, message):
    with pytest.raises(InputError, match=message):
        build_network(load_config(CONFIG, ["MODEL.DEVICE", "cpu", key, value]))


def test_a_bug_in_a_network_keeps_its_traceback():
    def broken(cfg):
        return {}["no such part"]

    META_ARCH_REGISTRY._do_register("Broken", broken)
    try:
        with pytest.raises(KeyError, match="no such part"):
            build_network(load_config(CONFIG, ["MODEL.META_ARCHITECTURE", "Broken"]))
    finally:
        META_ARCH_REGISTRY._obj_map.pop("Broken")
