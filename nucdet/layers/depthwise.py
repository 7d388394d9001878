"""Depthwise convolutions on a CPU whose gradients avoid oneDNN's slow kernels.

Slow in oneDNN, measured on one thread of two CPUs with bfloat16, are:

- the gradient of the weights for kernels larger than 3×3 (24 ms for a map of (2, 672, 24, 24);
  0.5 ms for a 3×3 kernel). Here it is put together from gradients of 3×3 kernels, each computed on
  a shifted input;
- the gradient of the input with a stride, in bfloat16 (40 ms for (2, 96, 192, 192); in float32 4 ms
  and two copies). Here it is one convolution for each phase of the stride for 3×3 kernels, and
  computed in float32 for others.

All tensors are channels-last. Where the padding at the end is wider than at the start, the kernel
is padded with zeros so that equal padding on both sides gives the same result.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# side of the kernels for which oneDNN computes the gradient of the weights quickly, and the
# smallest that :func:`depthwise` accepts
TILE = 3


def depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, start: int, end: int
) -> Tensor:
    """The convolution of (N, C, H, W) by (C, 1, k, k), k ≥ TILE, and C biases or None.

    Under autocast it computes in autocast's dtype.

    Args:
        stride: along both axes.
        start, end: zero padding at the start and at the end of both axes; ``start`` ≤ ``end``.
    """
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    return _Depthwise.apply(x, weight, bias, stride, start, end)


def _padded_kernel(weight: Tensor, extra: int) -> Tensor:
    """A kernel with ``extra`` rows of zeros added at the top and columns at the left."""
    return F.pad(weight, (extra, 0, extra, 0)) if extra else weight


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
        kernel = _padded_kernel(weight.to(x.dtype), end - start)
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x, kernel, bias, stride, end, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = _gradient_of_input(grad, x, weight, ctx.stride, ctx.start, ctx.end)
        if ctx.needs_input_grad[1]:
            grad_weight = _gradient_of_weight(grad, x, weight, ctx.stride, ctx.start, ctx.end)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 2, 3), dtype=torch.float32)
        return grad_input, grad_weight, grad_bias, None, None, None


def _gradient_of_input(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, start: int, end: int
) -> Tensor:
    if stride > 1 and x.dtype == torch.bfloat16 and weight.shape[-1] == TILE:
        return _gradient_by_phases(grad, x, weight, stride, start)
    dtype = x.dtype if stride == 1 else torch.float32
    # the values of the input are not needed, only its shape
    like = torch.empty_like(x, dtype=dtype)
    kernel = _padded_kernel(weight.to(dtype), end - start)
    return _backward(grad.to(dtype), like, kernel, stride, end, 0).to(x.dtype)


def _gradient_by_phases(grad: Tensor, x: Tensor, weight: Tensor, stride: int, start: int) -> Tensor:
    """The gradient of the input in stride² parts, each of every ``stride``-th row and column.

    All pixels of a part meet the same few weights of the kernel. So the gradient of each part is a
    convolution without stride by these weights, flipped; together they cost one convolution by the
    whole kernel.
    """
    result = torch.empty_like(x)
    flipped = weight.to(x.dtype).flip(2, 3)
    side = weight.shape[-1]
    parts = [
        [_phase(phase, length, have, side, stride, start) for phase in range(stride)]
        for length, have in zip(x.shape[-2:], grad.shape[-2:], strict=True)
    ]
    for row, (rows, above, below) in enumerate(parts[0]):
        for column, (columns, before, after) in enumerate(parts[1]):
            padded = F.pad(grad, (before, after, above, below))
            kernel = flipped[..., rows, columns].contiguous()
            part = F.conv2d(padded, kernel, groups=x.shape[1])
            result[..., row::stride, column::stride] = part
    return result


def _phase(
    phase: int, length: int, have: int, side: int, stride: int, start: int
) -> tuple[slice, int, int]:
    """One axis of :func:`_gradient_by_phases`, for the input pixels phase, phase + stride, …

    Args:
        phase: index of the first of these pixels.
        length: of the input, without its padding.
        have: length of the gradient of the output.
        side: of the kernel.
        stride: of the convolution.
        start: padding at the start of the input.

    Returns:
        Which weights of the flipped kernel they meet, and by how much the gradient of the output
        must be padded (cut, if negative) at its start and at its end.
    """
    first, shift = (phase + start) % stride, (phase + start) // stride
    taps = len(range(first, side, stride))
    count = len(range(phase, length, stride))
    flipped_first = (side - 1 - first) % stride
    return slice(flipped_first, None, stride), taps - 1 - shift, count + shift - have


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
    """The gradient of the input (``which`` 0) or of the weight (1)."""
    mask = [which == 0, which == 1, False]
    sides = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0]
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *sides, mask)[which]
