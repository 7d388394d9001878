import pytest
import torch
from torch import nn

from nucdet.layers.activation import FastReLU


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6])
def test_values_and_gradients_are_those_of_torchs_own(kind, inplace, dtype):
    torch.manual_seed(0)
    edges = torch.tensor([-0.0, 0.0, -6.0, 6.0, 5.96875, 6.03125, torch.inf, -torch.inf, 1e-39])
    values = torch.cat([edges, 5 * torch.randn(7 * 8 * 4 - len(edges))]).to(dtype)
    # channels-last, as maps of the networks are
    x = values.reshape(1, 7, 8, 4).permute(0, 3, 1, 2).requires_grad_()
    upstream = torch.randn_like(x)
    layer = kind(inplace=inplace)
    expected = layer(x * 1)
    (gradient,) = torch.autograd.grad(expected, x, upstream)
    FastReLU.convert(layer)
    before = x * 1
    found = layer(before)
    assert torch.equal(found, expected) and found.dtype == dtype
    assert found.stride() == expected.stride()
    assert torch.equal(torch.autograd.grad(found, x, upstream)[0], gradient)
    assert torch.equal(before, found if inplace else x)


def test_another_layer_stays_as_it_is():
    layer = nn.SiLU()
    FastReLU.convert(layer)
    assert type(layer) is nn.SiLU
