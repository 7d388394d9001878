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
