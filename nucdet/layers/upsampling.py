"""Nearest-neighbor upsampling with a gradient that avoids PyTorch's slow kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample_nearest_2x(x: Tensor) -> Tensor:
    """``F.interpolate(x, scale_factor=2.0)`` of (N, C, H, W), with the same gradient.

    For a bfloat16 map of (8, 48, 128, 128), channels-last and one of the inputs of a ``torch.cat``,
    PyTorch's own gradient takes 16 ms, the average pooling here 5 ms (one thread of a Xeon with
    AMX).
    """
    return _UpsampleNearest2x.apply(x)


class _UpsampleNearest2x(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return F.avg_pool2d(grad, 2, divisor_override=1)  # the sum of each 2×2 block
