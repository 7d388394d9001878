"""Networks that label pixels."""

from nucdet.modeling.segmentation.build import SEGMENTATION_REGISTRY, build_segmentation_network
from nucdet.modeling.segmentation.ensemble import MeanEnsemble
from nucdet.modeling.segmentation.fcn8s import FCN8s
from nucdet.modeling.segmentation.linknet import LinkNet
from nucdet.modeling.segmentation.small import SmallFCN, SmallUNet
from nucdet.modeling.segmentation.timm_unet import TimmUNet
from nucdet.modeling.segmentation.unet_cs230 import UNetCS230

__all__ = [
    "SEGMENTATION_REGISTRY",
    "FCN8s",
    "LinkNet",
    "MeanEnsemble",
    "SmallFCN",
    "SmallUNet",
    "TimmUNet",
    "UNetCS230",
    "build_segmentation_network",
]
