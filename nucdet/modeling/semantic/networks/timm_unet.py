"""U-Net on an ImageNet encoder, made for training on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from nucdet.errors import InputError
from nucdet.layers.blocks import conv_block
from nucdet.modeling.backbones.timm_fpn import TimmBackbone
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY

_STRIDES = [2, 4, 8, 16, 32]


@SEGMENTATION_REGISTRY.register()
class TimmUNet(nn.Module):
    """Encoder-decoder with skips (Ronneberger et al., 2015, arXiv:1505.04597) on any timm network.

    The decoder has two convolutions at each of the strides 16, 8, 4 and 2. From there sub-pixel
    convolution (Shi et al., 2016, arXiv:1609.05158) goes to full resolution, where one thin
    convolution sees the picture again: most of a U-Net's time goes to its highest level, and what
    that needs is little, as it only draws the edges that the levels below found.
    """

    size_divisibility = 32
    output_stride = 1

    @configurable
    def __init__(
        self,
        *,
        encoder: TimmBackbone,
        in_channels: int,
        num_channels: int,
        channels: Sequence[int],
    ):
        """
        Args:
            encoder: its ``body`` gives maps at the strides 2, 4, 8, 16 and 32.
            in_channels: of the pictures.
            num_channels: of the logits.
            channels: of the decoder at the strides 16, 8, 4, 2 and 1.

        Raises:
            InputError: the encoder lacks a stride, or ``channels`` are not five.
        """
        super().__init__()
        info = encoder.body.feature_info
        if info.reduction() != _STRIDES:
            raise InputError(
                f"MODEL.TIMM.NAME: maps of strides {info.reduction()}, expected {_STRIDES}"
            )
        if len(channels) != len(_STRIDES):
            raise InputError(
                f"MODEL.SEGMENTATION.CHANNELS is {tuple(channels)}, expected five numbers"
            )
        self.encoder = encoder
        *skips, below = info.channels()
        self.decoder = nn.ModuleList()
        for skip, width in zip(reversed(skips), channels, strict=False):
            self.decoder.append(conv_block(below + skip, width, width, norm="BN"))
            below = width
        top = channels[-1]
        self.to_full = nn.Conv2d(below, 4 * top, 1, bias=False)
        self.full = conv_block(top + in_channels, top, norm="BN")
        self.predictor = nn.Conv2d(top, num_channels, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        in_channels = len(cfg.MODEL.PIXEL_MEAN)
        encoder = TimmBackbone(
            cfg.MODEL.TIMM.NAME,
            in_channels=in_channels,
            norm=cfg.MODEL.TIMM.NORM,
            freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        )
        return {
            "encoder": encoder,
            "in_channels": in_channels,
            "num_channels": cfg.MODEL.SEGMENTATION.NUM_CHANNELS,
            "channels": cfg.MODEL.SEGMENTATION.CHANNELS,
        }

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W are multiples of 32."""
        *skips, y = self.encoder.body(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            y = block(torch.cat([F.interpolate(y, scale_factor=2.0), skip], dim=1))
        y = F.pixel_shuffle(self.to_full(y), 2)
        # under autocast y is bfloat16; with float32 beside it cat would make all of it float32
        y = self.full(torch.cat([y, x.to(y.dtype)], dim=1))
        return self.predictor(y).float()
