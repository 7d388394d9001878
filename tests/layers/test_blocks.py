from __future__ import annotations

import torch
from torch import nn

from nucdet.layers.blocks import conv_block


def test_blocks_keep_the_size_and_end_with_relu():
    block = conv_block(2, 4, 6)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.ReLU] * 2
    out = block(torch.randn(1, 2, 5, 7))
    assert out.shape == (1, 6, 5, 7)
    assert float(out.detach().min()) == 0.0
    assert [type(layer) for layer in conv_block(2, 4, norm="BN")] == [
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.ReLU,
    ]
    assert len(conv_block(2)) == 0
