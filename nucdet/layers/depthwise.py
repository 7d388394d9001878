"""Depthwise convolutions on a CPU whose gradients do not fall to oneDNN's slow kernels.

Measured on one thread of two CPUs with bfloat16, slow are:

- the gradient by the weights, for kernels above 3×3 (24 ms of a map of (2, 672, 24, 24), where that
  of a 3×3 kernel takes 0.5 ms). A kernel is put together of 3×3 ones, each of which sees the input
  shifted;
- the gradient by the input with a stride, in bfloat16 (40 ms of (2, 96, 192, 192), in float32 4 ms
  and two copies). For 3×3 kernels it is a convolution for each phase of the stride, for others it
  is computed in float32.

All is channels-last. Where the padding at the end is wider than that at the start, the kernel is
made to fit one that is the same on both sides.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# side of the kernels whose gradient by the weights oneDNN finds quickly, and of the smallest ones
# that :func:`depthwise` takes
TILE = 3


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, start: int, end: int
) -> Tensor:
    """The convolution of (N, C, H, W) by (C, 1, k, k), k ≥ TILE, and C biases or None.

    Under autocast it computes as autocast says.

    Args:
        stride: along both axes.
        start, end: zeros that both axes get at their start and at their end, ``end`` the larger.
    """
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    return _Depthwise.apply(x, weight, bias, stride, start, end)


def _embedded(weight: Tensor, more: int) -> Tensor:
    """A kernel that looks ``more`` pixels further up and to the left, at nothing."""
    return F.pad(weight, (more, 0, more, 0)) if more else weight


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: int,
        start: int,
        end: int,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.start, ctx.end, ctx.has_bias = stride, start, end, bias is not None
        bias = None if bias is None else bias.to(x.dtype)
        kernel = _embedded(weight.to(x.dtype), end - start)
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, kernel, bias, stride, end, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        by_input = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_input = _gradient_of_input(grad, x, weight, ctx.stride, ctx.start, ctx.end)
        if ctx.needs_input_grad[1]:
            by_weight = _gradient_of_weight(grad, x, weight, ctx.stride, ctx.start, ctx.end)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            by_bias = grad.sum(dim=(0, 2, 3), dtype=torch.float32)
        return by_input, by_weight, by_bias, None, None, None


def _gradient_of_input(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, start: int, end: int
) -> Tensor:
    if stride > 1 and x.dtype == torch.bfloat16 and weight.shape[-1] == TILE:
        return _gradient_by_phases(grad, x, weight, stride, start)
    dtype = x.dtype if stride == 1 else torch.float32
    # only its shape is looked at
    like = torch.empty_like(x, dtype=dtype)
    kernel = _embedded(weight.to(dtype), end - start)
    return _backward(grad.to(dtype), like, kernel, stride, end, 0).to(x.dtype)


def _gradient_by_phases(grad: Tensor, x: Tensor, weight: Tensor, stride: int, start: int) -> Tensor:
    """Every ``stride``-th row and column of the input sees the same few weights of the kernel.

    So the gradient of each of these stride² parts is a convolution without a stride, with that
    part of the kernel turned round; together they do the work of one of the kernel's size.
    """
    result = torch.empty_like(x)
    turned = weight.to(x.dtype).flip(2, 3)
    side = weight.shape[-1]
    parts = [
        [_phase(phase, length, have, side, stride, start) for phase in range(stride)]
        for length, have in zip(x.shape[-2:], grad.shape[-2:], strict=True)
    ]
    for row, (rows, above, below) in enumerate(parts[0]):
        for column, (columns, before, after) in enumerate(parts[1]):
            seen = F.pad(grad, (before, after, above, below))
            kernel = turned[..., rows, columns].contiguous()
            part = F.conv2d(seen, kernel, groups=x.shape[1])
            result[..., row::stride, column::stride] = part
    return result


def _phase(
    phase: int, length: int, have: int, side: int, stride: int, start: int
) -> tuple[slice, int, int]:
    """Along one axis: which weights of the turned kernel the inputs phase, phase + stride, … see.

    And by how much the gradient, which is ``have`` long, is padded (cut, where below 0) at its
    start and end, for an input of ``length`` that was padded by ``start`` at its start.
    """
    first, shift = (phase + start) % stride, (phase + start) // stride
    taps = len(range(first, side, stride))
    count = len(range(phase, length, stride))
    turned_first = (side - 1 - first) % stride
    return slice(turned_first, None, stride), taps - 1 - shift, count + shift - have


def _gradient_of_weight(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, start: int, end: int
) -> Tensor:
    side = weight.shape[-1]
    if side == TILE and start == end:
        return _backward(grad, x, weight.to(x.dtype), stride, start, 1).to(weight.dtype)
    result = torch.empty_like(weight)
    padded = F.pad(x, (start, end, start, end)) if end else x
    height, width = ((length - 1) * stride + TILE for length in grad.shape[-2:])
    starts = [*range(0, side - TILE, TILE), side - TILE]
    tile = weight[..., :TILE, :TILE].to(x.dtype)
    for top in starts:
        for left in starts:
            window = padded[..., top : top + height, left : left + width]
            window = window.contiguous(memory_format=torch.channels_last)
            part = _backward(grad, window, tile, stride, 0, 1)
            result[..., top : top + TILE, left : left + TILE] = part
    return result


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, which: int
) -> Tensor:
    """The gradient by the input (``which`` 0) or by the weight (1)."""
    mask = [which == 0, which == 1, False]
    sides = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0]
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *sides, mask)[which]
