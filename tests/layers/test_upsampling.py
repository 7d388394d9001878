import pytest
import torch
import torch.nn.functional as F

from nucdet.layers.upsampling import upsample_nearest_2x


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [(8, 6), (1, 1), (5, 7)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_values_and_gradients_are_those_of_torchs_own(size, dtype, channels_last):
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, 3, *size).to(dtype, memory_format=layout).requires_grad_()
    skip = torch.randn(2, 2, *(2 * side for side in size)).to(dtype, memory_format=layout)
    results = []
    for larger in (upsample_nearest_2x, lambda x: F.interpolate(x, scale_factor=2.0)):
        y = torch.cat([larger(x), skip], dim=1)
        upstream = torch.linspace(-3, 5, y.numel()).view_as(y).to(dtype, memory_format=layout)
        results.append((y, torch.autograd.grad(y, x, upstream)[0]))
    (found, gradient), (expected, torchs) = results
    assert torch.equal(found, expected)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, torchs)
