"""Bottom-up networks that several systems share."""

from nucdet.modeling.backbones.timm_fpn import TimmBackbone, build_timm_fpn_backbone

__all__ = ["TimmBackbone", "build_timm_fpn_backbone"]
