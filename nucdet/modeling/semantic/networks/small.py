"""The small FCN and the small U-Net of Arra, Vijjigiri and Madineni (Indiana University, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import configurable
from torch import Tensor, nn

from nucdet.errors import InputError
from nucdet.layers.blocks import UShape, conv_block
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY, ConfiguredNetwork


@SEGMENTATION_REGISTRY.register()
class SmallFCN(ConfiguredNetwork, nn.Module):
    """Three 3×3 convolutions with ReLU, each followed by max-pooling (section 4 of the report).

    The report's output has 16 × 16 pixels, but the report gives neither the pooling sizes nor that
    of the images. Here they are 2, 2 and 4 for images of 256 × 256; three poolings of 2 with the
    128 × 128 of the report's other networks would give the same output. It cannot separate nuclei
    that are closer than a 16th of the image's side; the report's score with it is 0.0072.
    """

    size_divisibility = 16
    output_stride = 16

    @configurable
    def __init__(self, *, in_channels: int, num_channels: int, channels: Sequence[int]):
        """
        Args:
            in_channels: of the images.
            num_channels: of the logits.
            channels: of the three convolutions, 16, 32 and 64 in the report.

        Raises:
            InputError: there are not three ``channels``.
        """
        super().__init__()
        if len(channels) != 3:
            raise InputError(
                f"MODEL.SEGMENTATION.CHANNELS is {tuple(channels)}, expected three numbers"
            )
        first, second, third = channels
        self.body = nn.Sequential(
            conv_block(in_channels, first),
            nn.MaxPool2d(2),
            conv_block(first, second),
            nn.MaxPool2d(2),
            conv_block(second, third),
            nn.MaxPool2d(4),
        )
        self.predictor = nn.Conv2d(third, num_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, K, H / 16, W / 16)."""
        return self.predictor(self.body(x)).float()


@SEGMENTATION_REGISTRY.register()
class SmallUNet(ConfiguredNetwork, UShape):
    """U-Net with two 3×3 convolutions with ReLU and dropout per level (section 5 of the report).

    Down: convolutions, dropout, max-pool at 16, 32, 64 and 128 channels. Up: a 3×3 transposed
    convolution with stride 2, concatenation with the skip, convolutions and dropout at 128, 64, 32
    and 16. As in the report, there is nothing between the last max-pool and the first transposed
    convolution.
    """

    output_stride = 1

    @configurable
    def __init__(
        self, *, in_channels: int, num_channels: int, channels: Sequence[int], dropout: float = 0.0
    ):
        """
        Args:
            in_channels: of the images.
            num_channels: of the logits.
            channels: of each level from full resolution downwards.
            dropout: probability, at the end of each level.
        """
        super().__init__()
        self.size_divisibility = 2 ** len(channels)
        for width in channels:
            self.down.append(_level(in_channels, width, dropout))
            in_channels = width
        self.bottom = nn.Identity()
        for width in reversed(channels):
            up = nn.ConvTranspose2d(in_channels, width, 3, stride=2, padding=1, output_padding=1)
            self.up.append(up)
            self.merge.append(_level(2 * width, width, dropout))
            in_channels = width
        self.predictor = nn.Conv2d(in_channels, num_channels, 1)


def _level(in_channels: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(conv_block(in_channels, width, width), nn.Dropout(dropout))
