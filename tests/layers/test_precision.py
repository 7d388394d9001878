from __future__ import annotations

import torch
from torch import nn

from nucdet.layers.precision import keep_depthwise_in_float32


def test_slow_depthwise_convolutions_compute_in_float32():
    torch.manual_seed(0)
    layers = {
        "strided": nn.Conv2d(4, 4, 3, stride=2, groups=4),
        "large": nn.Conv2d(4, 4, 5, groups=4),
        "fast": nn.Conv2d(4, 4, 3, groups=4),
        "dense": nn.Conv2d(4, 4, 3, stride=2),
    }
    network = nn.ModuleDict(layers)
    names = set(network.state_dict())
    keep_depthwise_in_float32(network)
    assert set(network.state_dict()) == names
    x = torch.randn(1, 4, 9, 9).bfloat16()
    for name, layer in layers.items():
        exact = layer(x.float()).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(x)
        assert found.dtype == torch.bfloat16
        # rounded once at the end, not in the weights too
        assert torch.equal(found, exact) == (name in ("strided", "large")), name
