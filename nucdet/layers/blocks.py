"""Rows of convolutions."""

from __future__ import annotations

from typing import Literal

from torch import nn


def conv_block(in_channels: int, *channels: int, norm: Literal["", "BN"] = "") -> nn.Sequential:
    """3×3 convolutions that keep the size, each with ReLU, with ``norm`` "BN" batch norm before it.

    Args:
        in_channels: of the input.
        *channels: of each convolution's output, in order.
        norm: "" or "BN".
    """
    layers: list[nn.Module] = []
    for out_channels in channels:
        # a bias would vanish in the mean that batch norm subtracts
        convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers.append(convolution)
        if norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
        in_channels = out_channels
    return nn.Sequential(*layers)
