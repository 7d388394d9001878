"""Blocks of convolutions, and the forward pass of a U-Net."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def conv_block(in_channels: int, *channels: int, norm: Literal["", "BN"] = "") -> nn.Sequential:
    """3×3 convolutions that keep the size, each followed by batch norm (if wanted) and ReLU.

    Args:
        in_channels: of the input.
        *channels: of each convolution's output, in order.
        norm: "" or "BN" (batch norm).
    """
    layers: list[nn.Module] = []
    for out_channels in channels:
        # with batch norm a bias is useless: it is subtracted again with the mean
        convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers.append(convolution)
        if norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
        in_channels = out_channels
    return nn.Sequential(*layers)


class UShape(nn.Module):
    """The forward pass of a U-Net (Ronneberger et al., 2015, arXiv:1505.04597).

    A subclass fills ``down``, ``up`` and ``merge`` with one module per level, ``down`` from full
    resolution to the coarsest and the others in the opposite order, and sets ``bottom`` and
    ``predictor``.
    """

    bottom: nn.Module
    predictor: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to float32 logits (N, K, H, W); H and W must be multiples of 2^levels."""
        skips = []
        for level in self.down:
            skips.append(level(x))
            x = self.pool(skips[-1])
        x = self.bottom(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], dim=1))
        return self.predictor(x).float()
