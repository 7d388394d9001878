"""Config keys of the backbones that several systems share."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.TIMM to a config, in place."""
    timm = cfg.MODEL.TIMM = CfgNode()
    # A timm model that supports features_only, for build_timm_fpn_backbone and TimmUNet.
    timm.NAME = "tf_efficientnet_lite0"
    # "FrozenBN": batch norm keeps its pretrained statistics and affine parameters (for batches of a
    # few images); "BN": it is trained.
    timm.NORM = "FrozenBN"
    # MixStyle in training: the share of the batches in which the images exchange the statistics of
    # their maps, drawn anew at each of the strides 2, 4 and 8. For images that are unlike those of
    # the training. See nucdet/layers/mix_style.py.
    timm.MIX_STYLE = 0.0
