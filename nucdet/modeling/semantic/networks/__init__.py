"""Networks that label pixels."""

from nucdet.modeling.semantic.networks.build import (
    SEGMENTATION_REGISTRY,
    build_segmentation_network,
)
from nucdet.modeling.semantic.networks.ensemble import MeanEnsemble
from nucdet.modeling.semantic.networks.fcn8s import FCN8s
from nucdet.modeling.semantic.networks.linknet import LinkNet
from nucdet.modeling.semantic.networks.small import SmallFCN, SmallUNet
from nucdet.modeling.semantic.networks.timm_unet import TimmUNet
from nucdet.modeling.semantic.networks.unet_cs230 import UNetCS230

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
