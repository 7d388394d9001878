"""Which number formats this machine computes with, and where the shorter ones do not pay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn


def computes_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; without them it is slower than float32."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def keep_depthwise_in_float32(network: nn.Module) -> None:
    """Let the slow depthwise convolutions compute in float32 under autocast on a CPU, in place.

    With a stride or 5×5 kernels oneDNN has no fast backward pass for them in bfloat16: for
    EfficientNet-Lite0 one of them took 411 ms where float32 took 107 ms, and a U-Net on it 2.1 s an
    iteration instead of 1.4 s. Weights, their names and the results' types stay as they were.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d) or module.groups == 1:
            continue
        if module.stride != (1, 1) or module.kernel_size != (3, 3):
            module.forward = partial(_in_float32, module.forward)


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return forward(x)
    with torch.autocast("cpu", enabled=False):
        return forward(x.float()).to(x.dtype)
