"""Mask heads for any Mask R-CNN that take small crops of the image instead of features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads.mask_head import BaseMaskRCNNHead
from torch import Tensor, nn
from torch.nn import functional as F

from nucdet.errors import InputError
from nucdet.modeling.crop_rcnn.backbone import CropResNet


class CropMaskHead(BaseMaskRCNNHead):
    """From crops (N, 1, M, M) of the image, grey levels 0–1, to mask logits (N, 1, M, M) float32.

    Loss and inference are Mask R-CNN's with class-agnostic masks: binary cross-entropy at each
    pixel of each crop. A subclass writes ``logits``.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        if input_shape.channels != 1:
            raise InputError(
                f"MODEL.ROI_MASK_HEAD.NAME is {cls.__name__!r}, which takes crops of the image; "
                'set MODEL.ROI_MASK_HEAD.IN_FEATURES ("image",) and a backbone with that map'
            )
        if input_shape.height % 8:
            raise InputError(
                f"crops for {cls.__name__} have a side of {input_shape.height} pixels, expected a "
                "multiple of 8"
            )
        return super().from_config(cfg, input_shape)

    def layers(self, x: Tensor) -> Tensor:
        """:meth:`logits` in float32, also for N = 0."""
        if not len(x):
            # batch norm would learn NaN; the parameters still get a gradient, of 0
            return x + 0 * sum(p.sum() for p in self.parameters())
        return self.logits(x).float()

    def logits(self, crops: Tensor) -> Tensor:
        """Mask logits (N, 1, M, M) of crops (N, 1, M, M), N ≥ 1."""
        raise NotImplementedError


@ROI_MASK_HEAD_REGISTRY.register()
class CropUNetMaskHead(CropMaskHead):
    """The U-Net of report 000: 8 convolutions of 9×9 with padding, batch norm and ReLU.

    The report calls it a "crude imitation of U-Net" and says no more. Here: three convolutions each
    followed by 2×2 max-pooling, one at the bottom, three after nearest-neighbor upsampling and
    concatenation with the map of the same size, and a last one, without batch norm and ReLU, to the
    mask.
    """

    @configurable
    def __init__(self, *, channels: Sequence[int], **kwargs: Any):
        """
        Args:
            channels: at the four resolutions, from that of the crop downwards.
            kwargs: see :class:`BaseMaskRCNNHead`.
        """
        super().__init__(**kwargs)
        self.down = nn.ModuleList([_conv9(*widths) for widths in pairwise([1, *channels])])
        self.up = nn.ModuleList(
            [_conv9(low + high, high) for low, high in pairwise(reversed(channels))]
        )
        self.predictor = nn.Conv2d(channels[0], 1, 9, padding=4)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        channels = cfg.MODEL.CROP_RCNN.UNET_CHANNELS
        if len(channels) != 4:
            raise InputError(f"MODEL.CROP_RCNN.UNET_CHANNELS is {channels}, expected four numbers")
        return {**super().from_config(cfg, input_shape), "channels": channels}

    def logits(self, crops: Tensor) -> Tensor:
        x, skips = crops, []
        for i, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        skips.pop()
        for layer in self.up:
            x = layer(torch.cat([F.interpolate(x, scale_factor=2), skips.pop()], dim=1))
        return self.predictor(x)


@ROI_MASK_HEAD_REGISTRY.register()
class CropTransposedMaskHead(CropMaskHead):
    """The mask network of report 000 before its U-Net: transposed convolutions on features.

    The report shares the features with the RPN and calls this its "biggest problem"; here the
    feature extractor, like all parts, has its own weights. Three transposed convolutions upsample
    its maps of stride 8 to the size of the crop.
    """

    @configurable
    def __init__(self, *, backbone: CropResNet, **kwargs: Any):
        """
        Args:
            backbone: for one grey channel.
            kwargs: see :class:`BaseMaskRCNNHead`.
        """
        super().__init__(**kwargs)
        self.backbone = backbone
        widths = [backbone.output_shape()["res3"].channels // 2**i for i in range(4)]
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(in_channels, out_channels, 4, 2, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        self.up = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        backbone = CropResNet(cfg.MODEL.CROP_RCNN.BACKBONE_CHANNELS)
        return {**super().from_config(cfg, input_shape), "backbone": backbone}

    def logits(self, crops: Tensor) -> Tensor:
        return self.up(self.backbone(crops)["res3"])


def _conv9(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 9, padding=4, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
