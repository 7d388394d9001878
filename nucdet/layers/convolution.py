"""Convolutions of timm networks, computed by what a CPU is quick at. Same parameters and results.

Three things cost a training most, measured on one thread of two CPUs with bfloat16:

- oneDNN has slow backward passes of depthwise convolutions: by the weights for kernels above 3×3
  (24 ms of a map of (2, 672, 24, 24), where that of a 3×3 kernel takes 0.5 ms), by the input with a
  stride in bfloat16 (40 ms of (2, 96, 192, 192), in float32 4 ms). See :class:`_Depthwise`.
- A frozen batch norm multiplies and adds maps where it could change the weights. See
  :func:`speed_up`, which also spares batch norms in inference.
- TensorFlow's "SAME" padding copies maps. Where it is the same on both sides, the convolution can
  do it; where a depthwise one needs a row and a column more at the end, its kernel gets a row and
  a column of zeros at the beginning (35 ms of a float32 map of (8, 96, 128, 128) became 7 ms).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_TILE = 3  # side of the kernels whose gradient oneDNN finds quickly
_NORMS = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d", "BatchNorm2d", "BatchNormAct2d")


class FastConv2d(nn.Conv2d):
    """A Conv2d, or a timm Conv2dSame, that may take over the batch norm behind it."""

    same: bool  # TensorFlow's "SAME" padding, whose width depends on the image's
    norm: list[nn.Module]  # the norm behind it; in a list, since it is not this module's to save
    fixed: tuple[Tensor, Tensor] | None  # weight and bias with the norm folded in, see fixed_norms

    @classmethod
    def convert(cls, convolution: nn.Conv2d) -> None:
        """Make a convolution one of these, in place."""
        convolution.same = type(convolution).__name__ == "Conv2dSame"
        convolution.norm = []
        convolution.fixed = None
        convolution.__class__ = cls

    @property
    def takes_norm(self) -> bool:
        """Whether it now does the work of its norm, too."""
        return bool(self.norm) and not (
            self.norm[0].training and isinstance(self.norm[0], nn.BatchNorm2d)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H', W')."""
        weight, bias = self.weight, self.bias
        if self.takes_norm:
            weight, bias = self.fixed or _folded(weight, bias, self.norm[0])
        start = end = self.padding
        if self.same:
            start, end = _same_padding(x, self.kernel_size, self.stride, self.dilation)
        if x.device.type == "cpu" and self._is_square_depthwise(start, end):
            return _depthwise(x, weight, bias, self.stride[0], start[0], end[0])
        if start != end:
            x, start = F.pad(x, (start[1], end[1], start[0], end[0])), (0, 0)
        return F.conv2d(x, weight, bias, self.stride, start, self.dilation, self.groups)

    def _is_square_depthwise(self, start: Any, end: Any) -> bool:
        channels = self.groups == self.in_channels == self.out_channels > 1
        sides = self.kernel_size, self.stride, start, end
        square = not isinstance(start, str) and all(len(set(side)) == 1 for side in sides)
        known = self.dilation == (1, 1) and self.padding_mode == "zeros"
        return channels and square and known and self.kernel_size[0] >= _TILE


def speed_up(network: nn.Module) -> None:
    """Make a network's convolutions :class:`FastConv2d` and fold batch norms into them, in place.

    A norm is folded where it is all that uses a convolution's result: a frozen one always, another
    one in inference. Names and values of the parameters stay as they were. A network that torch.fx
    cannot follow keeps its norms.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d or type(module).__name__ == "Conv2dSame":
            FastConv2d.convert(module)
    try:
        graph = _Tracer().trace(network)
    except (TypeError, ValueError, fx.proxy.TraceError):
        return
    uses = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, norm = (network.get_submodule(n.target) for n in (before, node))
        once = uses.count(before.target) == uses.count(node.target) == 1
        if once and isinstance(convolution, FastConv2d) and type(norm).__name__ in _NORMS:
            convolution.norm = [norm]
            norm.convolution = [convolution]
            norm.__class__ = type(f"Foldable{type(norm).__name__}", (_Foldable, type(norm)), {})


@contextmanager
def fixed_norms(network: nn.Module) -> Iterator[None]:
    """Fold the norms once, for as long as neither weights nor statistics change.

    Folding them anew for each image takes some milliseconds of small operations.
    """
    folding = [m for m in network.modules() if isinstance(m, FastConv2d) and m.takes_norm]
    with torch.no_grad():
        for convolution in folding:
            convolution.fixed = _folded(convolution.weight, convolution.bias, convolution.norm[0])
    try:
        yield
    finally:
        for convolution in folding:
            convolution.fixed = None


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return (
            isinstance(module, nn.Conv2d)
            or type(module).__name__ in _NORMS
            or (super().is_leaf_module(module, name))
        )


class _Foldable(nn.Module):
    """A batch norm that leaves its work to the convolution before it where that takes it."""

    convolution: list[FastConv2d]

    def forward(self, x: Tensor) -> Tensor:
        if not self.convolution[0].takes_norm:
            return super().forward(x)
        # what timm's norms do after normalising
        return self.act(self.drop(x)) if hasattr(self, "act") else x


def _folded(weight: Tensor, bias: Tensor | None, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution followed by the norm with its running statistics."""
    with torch.autocast(weight.device.type, enabled=False):
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean if bias is None else bias - norm.running_mean
        shift = shift * scale if norm.bias is None else norm.bias + shift * scale
        return weight * scale[:, None, None, None], shift


def _same_padding(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding (along y, along x) at the start and at the end, here larger by one or equal."""
    missing = [
        max((-(-length // s) - 1) * s + (k - 1) * d + 1 - length, 0)
        for length, k, s, d in zip(x.shape[-2:], kernel, stride, dilation, strict=True)
    ]
    start = missing[0] // 2, missing[1] // 2
    return start, (missing[0] - start[0], missing[1] - start[1])


def _depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, start: int, end: int
) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    return _Depthwise.apply(x, weight, bias, stride, start, end)


def _embedded(weight: Tensor, more: int) -> Tensor:
    """A kernel that looks ``more`` pixels further up and to the left, at nothing."""
    return F.pad(weight, (more, 0, more, 0)) if more else weight


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution of k×k on a CPU whose gradients do not fall to oneDNN's slow kernels.

    By the weights: a kernel above 3×3 is put together of 3×3 ones, each of which sees the input
    shifted. By the input with a stride: in float32. All channels-last. Where the padding at the end
    is wider than that at the start, the kernel is made to fit one that is the same on both sides.
    """

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
            kernel = _embedded(weight, ctx.end - ctx.start)
            by_input = _gradient_of_input(grad, x, kernel, ctx.stride, ctx.end)
        if ctx.needs_input_grad[1]:
            by_weight = _gradient_of_weight(grad, x, weight, ctx.stride, ctx.start, ctx.end)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            by_bias = grad.sum(dim=(0, 2, 3), dtype=torch.float32)
        return by_input, by_weight, by_bias, None, None, None


def _gradient_of_input(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    dtype = x.dtype if stride == 1 else torch.float32
    # only its shape is looked at
    like = torch.empty_like(x, dtype=dtype)
    result = _backward(grad.to(dtype), like, weight.to(dtype), stride, padding, 0)
    return result.to(x.dtype)


def _gradient_of_weight(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, start: int, end: int
) -> Tensor:
    side = weight.shape[-1]
    if side == _TILE and start == end:
        return _backward(grad, x, weight.to(x.dtype), stride, start, 1).to(weight.dtype)
    result = torch.empty_like(weight)
    padded = F.pad(x, (start, end, start, end)) if end else x
    height, width = ((length - 1) * stride + _TILE for length in grad.shape[-2:])
    starts = [*range(0, side - _TILE, _TILE), side - _TILE]
    tile = weight[..., :_TILE, :_TILE].to(x.dtype)
    for top in starts:
        for left in starts:
            window = padded[..., top : top + height, left : left + width]
            window = window.contiguous(memory_format=torch.channels_last)
            part = _backward(grad, window, tile, stride, 0, 1)
            result[..., top : top + _TILE, left : left + _TILE] = part
    return result


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, which: int
) -> Tensor:
    """The gradient by the input (``which`` 0) or by the weight (1)."""
    mask = [which == 0, which == 1, False]
    sides = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0]
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *sides, mask)[which]
