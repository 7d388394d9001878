"""RPN, nucleus filter and crop U-Net: the system of the RPN report, in one package."""

from nucdet.modeling.crop_rcnn.architecture import CropRCNN
from nucdet.modeling.crop_rcnn.backbone import CropResNet, build_crop_resnet_backbone
from nucdet.modeling.crop_rcnn.image_feature import (
    FPNWithImage,
    build_timm_fpn_with_image_backbone,
)
from nucdet.modeling.crop_rcnn.image_roi_heads import PictureROIHeads
from nucdet.modeling.crop_rcnn.mask_heads import CropTransposedMaskHead, CropUNetMaskHead
from nucdet.modeling.crop_rcnn.nucleus_filter import NucleusFilter
from nucdet.modeling.crop_rcnn.roi_heads import CropROIHeads
from nucdet.modeling.crop_rcnn.rpn import CropRPN
from nucdet.modeling.crop_rcnn.subsystem_losses import SubsystemLossEvaluator

__all__ = [
    "CropRCNN",
    "CropROIHeads",
    "CropRPN",
    "CropResNet",
    "CropTransposedMaskHead",
    "CropUNetMaskHead",
    "FPNWithImage",
    "NucleusFilter",
    "PictureROIHeads",
    "SubsystemLossEvaluator",
    "build_crop_resnet_backbone",
    "build_timm_fpn_with_image_backbone",
]
