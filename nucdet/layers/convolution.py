"""Speeds up the convolutions of timm networks on a CPU, with the same parameters and results.

Three things took most of the training time, measured on one thread of two CPUs with bfloat16:

- oneDNN's backward passes of depthwise convolutions are slow, see nucdet/layers/depthwise.py.
- A frozen batch norm multiplies and adds feature maps, although it can be folded into the weights.
  :func:`speed_up` does this, and in inference for other batch norms, too.
- TensorFlow's "SAME" padding copies feature maps. Where it is equal on both sides, the convolution
  itself can pad. Where a depthwise one needs one more row and column at the end, its kernel gets a
  row and a column of zeros at the beginning (for a float32 map of (8, 96, 128, 128), 35 ms became
  7 ms).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from nucdet.layers.activation import FastReLU
from nucdet.layers.depthwise import TILE, depthwise

_NORMS = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d", "BatchNorm2d", "BatchNormAct2d")


class FastConv2d(nn.Conv2d):
    """A Conv2d, or a timm Conv2dSame, that may also do the work of the batch norm after it."""

    same: bool  # TensorFlow's "SAME" padding, whose width depends on the size of the image
    norm: list[nn.Module]  # the norm after it; in a list, so that it is not saved as a submodule
    fixed: tuple[Tensor, Tensor] | None  # weight and bias with the norm folded in, see fixed_norms

    @classmethod
    def convert(cls, convolution: nn.Conv2d) -> None:
        """Turn a convolution into a FastConv2d, in place."""
        convolution.same = type(convolution).__name__ == "Conv2dSame"
        convolution.norm = []
        convolution.fixed = None
        convolution.__class__ = cls

    @property
    def takes_norm(self) -> bool:
        """Whether it currently does the work of its norm."""
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
            return depthwise(x, weight, bias, self.stride[0], start[0], end[0])
        if start != end:
            x, start = F.pad(x, (start[1], end[1], start[0], end[0])), (0, 0)
        return F.conv2d(x, weight, bias, self.stride, start, self.dilation, self.groups)

    def _is_square_depthwise(self, start: Any, end: Any) -> bool:
        channels = self.groups == self.in_channels == self.out_channels > 1
        sides = self.kernel_size, self.stride, start, end
        square = not isinstance(start, str) and all(len(set(side)) == 1 for side in sides)
        known = self.dilation == (1, 1) and self.padding_mode == "zeros"
        return channels and square and known and self.kernel_size[0] >= TILE


def speed_up(network: nn.Module) -> None:
    """Convert convolutions and ReLUs into faster ones and fold batch norms, all in place.

    A norm is folded if nothing else uses the convolution's result: a frozen one always, any other
    in inference only. Names and values of the parameters do not change. A network that torch.fx
    cannot trace keeps its norms.
    """
    for module in network.modules():
        FastReLU.convert(module)
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
    """Fold the norms once for the whole context; weights and statistics must not change in it.

    This saves a few milliseconds of small operations for each image.
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
            isinstance(module, nn.Conv2d | FastReLU)
            or type(module).__name__ in _NORMS
            or (super().is_leaf_module(module, name))
        )


class _Foldable(nn.Module):
    """A batch norm that only applies its activation while the convolution before it normalizes."""

    convolution: list[FastConv2d]

    def forward(self, x: Tensor) -> Tensor:
        if not self.convolution[0].takes_norm:
            return super().forward(x)
        # what timm's norms do after normalizing
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
    """Padding (along y, along x) at the start and at the end; the latter may be larger by one."""
    missing = [
        max((-(-length // s) - 1) * s + (k - 1) * d + 1 - length, 0)
        for length, k, s, d in zip(x.shape[-2:], kernel, stride, dilation, strict=True)
    ]
    start = missing[0] // 2, missing[1] // 2
    return start, (missing[0] - start[0], missing[1] - start[1])
