import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nucdet.layers.convolution import FastConv2d, fixed_norms, speed_up


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("side", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)])
def test_depthwise_convolution_has_the_gradients_of_torchs_own(side, stride, dtype):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 4, side, stride, side // 2, groups=4)
    found, expected = _fast_and_torchs(convolution, torch.randn(2, 4, 17, 22), dtype)
    _assert_near(found, expected, 1e-4 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(16, 16), (17, 17), (17, 16)])
@pytest.mark.parametrize("side", [3, 5])
def test_tensorflows_padding_of_a_stride_is_the_kernels_or_a_copy(side, size, dtype):
    from timm.layers import Conv2dSame

    torch.manual_seed(0)
    convolution = Conv2dSame(4, 4, side, stride=2, groups=4)
    found, expected = _fast_and_torchs(convolution, torch.randn(2, 4, *size), dtype)
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected)
    _assert_near(found, expected, 2e-2)


def _fast_and_torchs(convolution, x, dtype):
    """A convolution's map and gradients, those of FastConv2d in dtype and PyTorch's in float32."""
    parameters = (x.requires_grad_(), convolution.weight, convolution.bias)
    expected = convolution(x)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, parameters, upstream)
    FastConv2d.convert(convolution)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = convolution(x)
    assert found.dtype == dtype
    fast = torch.autograd.grad(found, parameters, upstream.to(dtype))
    return (found, *fast), (expected, *gradients)


def _assert_near(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert (a.float() - b).norm() < tolerance * b.norm()


@pytest.mark.parametrize("size", [(16, 16), (17, 18)])
@pytest.mark.parametrize("frozen", [True, False])
def test_folded_norms_give_the_same_maps(size, frozen):
    from timm.layers import freeze_batch_norm_2d

    network = _network()
    if frozen:
        network = freeze_batch_norm_2d(network)
    names = set(network.state_dict())
    fast = copy.deepcopy(network)
    speed_up(fast)
    assert set(fast.state_dict()) == names
    convolutions = [m for m in fast.modules() if isinstance(m, FastConv2d)]
    assert len(convolutions) > 10 and all(c.norm for c in convolutions)
    x = torch.randn(2, 3, *(2 * side for side in size))
    for training in (True, False):
        network.train(training)
        fast.train(training)
        folded = frozen or not training
        assert all(c.takes_norm == folded for c in convolutions)
        if folded:  # else nothing differs
            for a, b in zip(network(x), fast(x), strict=True):
                torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_parameters_learn_through_a_folded_norm():
    from timm.layers import freeze_batch_norm_2d

    network = freeze_batch_norm_2d(_network())
    fast = copy.deepcopy(network)
    speed_up(fast)
    x = torch.randn(2, 3, 32, 32)
    for net in (network, fast):
        net(x)[-1].square().mean().backward()
    for a, b in zip(network.parameters(), fast.parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 1e-2 * a.grad.norm()


def test_copies_do_not_share_their_norms():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    speed_up(network)
    other = copy.deepcopy(network)
    other[1].running_mean.fill_(5.0)
    x = torch.zeros(1, 1, 2, 2)
    assert not torch.equal(network(x), other(x))


def test_norms_are_fixed_until_the_end():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    speed_up(network)
    x = torch.randn(1, 1, 2, 2)
    before = network(x)
    with fixed_norms(network):
        torch.testing.assert_close(network(x), before)
        network[1].running_mean.fill_(5.0)
        torch.testing.assert_close(network(x), before)
    shift = 5.0 / (1 + network[1].eps) ** 0.5
    torch.testing.assert_close(network(x), before - shift)


def test_a_convolution_that_is_used_twice_keeps_its_norm():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.convolution(x)
            return F.relu(self.norm(y)) + y

    network = Twice().eval()
    network.norm.running_mean.fill_(3.0)
    x = torch.randn(1, 2, 4, 4)
    expected = network(x)
    speed_up(network)
    torch.testing.assert_close(network(x), expected)


def _network():
    import timm

    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network
