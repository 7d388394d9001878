"""U-Net with an ImageNet encoder, designed for training on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from nucdet.errors import InputError
from nucdet.layers.blocks import conv_block
from nucdet.layers.convolution import speed_up
from nucdet.layers.upsampling import upsample_nearest_2x
from nucdet.modeling.backbones.timm_fpn import TimmBackbone
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY, ConfiguredNetwork

_STRIDES = [2, 4, 8, 16, 32]


@SEGMENTATION_REGISTRY.register()
class TimmUNet(ConfiguredNetwork, nn.Module):
    """Encoder-decoder with skips (Ronneberger et al., 2015, arXiv:1505.04597) on a timm network.

    The decoder has two 3×3 convolutions at each of the strides 16, 8, 4 and 2. With four
    ``channels`` the logits have stride 2, which is enough if nuclei are enlarged in the input.
    With five, a sub-pixel convolution (Shi et al., 2016, arXiv:1609.05158) leads to full
    resolution, where one convolution with few channels also sees the image. A usual U-Net spends
    most of its time at full resolution, although it only refines edges there that coarser levels
    have found.
    """

    size_divisibility = 32

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
            in_channels: of the images.
            num_channels: of the logits.
            channels: of the decoder at the strides 16, 8, 4, 2 and, if there are five, 1.

        Raises:
            InputError: the encoder has other strides, or ``channels`` are neither four nor five.
        """
        super().__init__()
        info = encoder.body.feature_info
        if info.reduction() != _STRIDES:
            raise InputError(
                f"MODEL.TIMM.NAME names a network with maps of strides {info.reduction()}, "
                f"expected {_STRIDES}"
            )
        if len(channels) not in (len(_STRIDES) - 1, len(_STRIDES)):
            raise InputError(
                f"MODEL.SEGMENTATION.CHANNELS is {tuple(channels)}, expected five numbers, "
                "or four for an output at half the resolution"
            )
        self.output_stride = 2 ** (len(_STRIDES) - len(channels))
        self.encoder = encoder
        *skips, below = info.channels()
        self.decoder = nn.ModuleList()
        for skip, width in zip(reversed(skips), channels, strict=False):
            self.decoder.append(conv_block(below + skip, width, width, norm="BN"))
            below = width
        top = channels[-1]
        self.full = None
        if self.output_stride == 1:
            self.to_full = nn.Conv2d(below, 4 * top, 1, bias=False)
            self.full = conv_block(top + in_channels, top, norm="BN")
            speed_up(self.full)
        self.predictor = nn.Conv2d(top, num_channels, 1)
        for block in self.decoder:  # TimmBackbone has sped up the encoder
            speed_up(block)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        encoder = TimmBackbone.from_cfg(cfg, len(cfg.MODEL.PIXEL_MEAN))
        return {"encoder": encoder, **super().from_config(cfg)}

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, K, H / s, W / s); H and W are multiples of 32.

        s is 1 with five channels and 2 with four.
        """
        *skips, y = self.encoder.body(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            y = block(torch.cat([upsample_nearest_2x(y), skip], dim=1))
        if self.full is not None:
            y = self.full(self._full_resolution(y, x))
        return self.predictor(y).float()

    def _full_resolution(self, y: Tensor, image: Tensor) -> Tensor:
        """``cat([pixel_shuffle(to_full(y), 2), image])``, channels-last, in one copy.

        Checkpoints hold ``to_full``'s channels in the order (channel, row, column) of the 2×2
        pixels. They are computed in the order (row, column, channel), so that the values of one
        pixel lie side by side in memory.
        """
        top = self.to_full.out_channels // 4
        weight = self.to_full.weight.unflatten(0, (top, 4)).transpose(0, 1).flatten(0, 1)
        fine = F.conv2d(y, weight).permute(0, 2, 3, 1).unflatten(-1, (2, 2, top)).transpose(2, 3)
        # under autocast `fine` is bfloat16; cat with a float32 image would make all of it float32
        image = image.to(fine.dtype).permute(0, 2, 3, 1)
        image = image.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        both = torch.cat([fine, image], dim=-1)
        return both.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
