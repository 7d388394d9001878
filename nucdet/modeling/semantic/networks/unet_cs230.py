"""The U-Net of Haigh, van Paasschen and Murphy (Stanford CS230, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import configurable
from torch import nn

from nucdet.errors import InputError
from nucdet.layers.blocks import UShape, conv_block
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY, ConfiguredNetwork


@SEGMENTATION_REGISTRY.register()
class UNetCS230(ConfiguredNetwork, UShape):
    """U-Net with one 3×3 convolution per level, as counted in section III-B of the report.

    Down: a convolution, three times max-pool and convolution, and a last convolution. Up: the same,
    with each max-pool replaced by a 2×2 up-convolution, which halves the channels, and a
    concatenation with the skip. The last convolution on the way down is also the first on the way
    up (the report could also mean that there is another one). Each 3×3 convolution has ReLU and no
    batch norm. For the channels the report refers to Ronneberger et al.: 64, 128, 256, 512.

    The level of full resolution thus ends with two convolutions. "U-Net −1" omits them, "U-Net +1"
    adds one.
    """

    output_stride = 1

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_channels: int,
        channels: Sequence[int] = (64, 128, 256, 512),
        last_convs: int = 2,
    ):
        """
        Args:
            in_channels: of the images.
            num_channels: of the logits.
            channels: at full resolution and after each max-pool.
            last_convs: 3×3 convolutions between the last skip and the predictor: 2, for "+1" 3 and
                for "−1" 0.

        Raises:
            InputError: ``last_convs`` is negative, or there are fewer than two levels.
        """
        super().__init__()
        if last_convs < 0 or len(channels) < 2:
            raise InputError(
                f"MODEL.SEGMENTATION: CHANNELS is {tuple(channels)} and LAST_CONVS {last_convs}; "
                "expected at least two channels, and 0 or more convolutions"
            )
        *upper, bottom = channels
        self.size_divisibility = 2 ** len(upper)
        for width in upper:
            self.down.append(conv_block(in_channels, width))
            in_channels = width
        self.bottom = conv_block(in_channels, bottom, bottom)
        for level, width in reversed([*enumerate(upper)]):
            self.up.append(nn.ConvTranspose2d(bottom, width, 2, stride=2))
            convs = 1 if level else last_convs
            self.merge.append(conv_block(2 * width, *[width] * convs))
            bottom = width
        self.predictor = nn.Conv2d(bottom if last_convs else 2 * bottom, num_channels, 1)
