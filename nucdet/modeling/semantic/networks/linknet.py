"""The LinkNets of Arra, Vijjigiri and Madineni (Indiana University, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.config import configurable
from torch import Tensor, nn

from nucdet.errors import InputError
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY, ConfiguredNetwork


@SEGMENTATION_REGISTRY.register()
class LinkNet(ConfiguredNetwork, nn.Module):
    """Pairs of encoder and decoder; a decoder's output is added to that of the encoder above it.

    Follows Chaurasia and Culurciello, 2017 (arXiv:1707.03718), without the initial block: the first
    encoder takes the image. Each convolution in encoders and decoders has batch norm and ReLU.
    In section 6 of the report, 2 encoders have 64 and 128 channels and their decoders a quarter of
    that, 16 and 32; with 4 pairs the numbers continue to double.
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
            channels: of each encoder, (64, 128) for 2 pairs and (64, 128, 256, 512) for 4.
            dropout: probability, in each decoder.

        Raises:
            InputError: there are no ``channels``.
        """
        super().__init__()
        if not channels:
            raise InputError("MODEL.SEGMENTATION.CHANNELS is (), expected one or more numbers")
        self.size_divisibility = 2 ** len(channels)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        for width in channels:
            self.encoders.append(_Encoder(in_channels, width))
            in_channels = width
        for width, above in zip(reversed(channels), [*channels[-2::-1], None], strict=True):
            self.decoders.append(_decoder(width, above, dropout))
        self.predictor = nn.Conv2d(channels[0] // 4, num_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, K, H, W); H and W are multiples of ``size_divisibility``."""
        links = []
        for encoder in self.encoders:
            x = encoder(x)
            links.append(x)
        x = links.pop()
        for decoder in self.decoders:
            x = decoder(x)
            if links:
                x = x + links.pop()
        return self.predictor(x).float()


class _Encoder(nn.Module):
    """Two residual blocks of two 3×3 convolutions; the first block has stride 2.

    The report's average pooling is placed on the shortcut of the first block. After the strided
    convolution, each encoder would divide the size by 4, which a decoder of stride 2 cannot undo.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.first = nn.Sequential(
            _conv(in_channels, channels, 3, stride=2), nn.ReLU(), _conv(channels, channels, 3)
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), _conv(in_channels, channels, 1))
        self.second = nn.Sequential(
            _conv(channels, channels, 3), nn.ReLU(), _conv(channels, channels, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x) + self.shortcut(x))
        return F.relu(self.second(x) + x)


def _decoder(channels: int, above: int | None, dropout: float) -> nn.Sequential:
    """1×1 convolution to a quarter of the channels, 3×3 transposed with stride 2, dropout, 1×1.

    The last convolution, which LinkNet has but the report does not mention, gives ``above``
    channels, those of the encoder above, so that the two can be added. For the top decoder
    ``above`` is None, and this convolution is left out.
    """
    quarter = channels // 4
    up = nn.ConvTranspose2d(quarter, quarter, 3, stride=2, padding=1, output_padding=1, bias=False)
    layers = [_conv(channels, quarter, 1), nn.ReLU(), up, nn.BatchNorm2d(quarter), nn.ReLU()]
    layers.append(nn.Dropout(dropout))
    if above is not None:
        layers += [_conv(quarter, above, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution that divides the size by its stride only, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels),
    )
