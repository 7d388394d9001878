"""Backbones."""

from nucdet.modeling.backbone.crop_resnet import CropResNet, build_crop_resnet_backbone
from nucdet.modeling.backbone.image_feature import (
    FPNWithImage,
    build_timm_fpn_with_image_backbone,
)
from nucdet.modeling.backbone.timm_fpn import TimmBackbone, build_timm_fpn_backbone

__all__ = [
    "CropResNet",
    "FPNWithImage",
    "TimmBackbone",
    "build_crop_resnet_backbone",
    "build_timm_fpn_backbone",
    "build_timm_fpn_with_image_backbone",
]
