import copy

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import nn

from nucdet.layers.roi_pooling import SparseROIPooler


def boxes(*rows):
    return Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))


def random_boxes(count, largest):
    corners, sizes = torch.rand(count, 2) * 120 - 15, torch.rand(count, 2) * largest
    return Boxes(torch.cat([corners, corners + sizes], dim=1))


def both(poolers, output_size=3):
    torch.manual_seed(0)
    pooler = ROIPooler(output_size, [0.5**i for i in range(2, 2 + poolers)], 0, "ROIAlignV2")
    network = nn.ModuleDict({"pooler": copy.deepcopy(pooler)})
    SparseROIPooler.convert(network)
    assert type(network["pooler"]) is SparseROIPooler
    return pooler, network["pooler"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [1, 3])
def test_same_values_and_gradients_as_torchvisions(levels, dtype):
    usual, sparse = both(levels)
    # over the edges, empty, turned inside out, larger than the image
    odd = boxes((-9, -9, 3, 200), (50, 50, 50, 60), (20, 20, 10, 10), (-300, -300, 400, 400))
    lists = [Boxes.cat([odd, random_boxes(20, 60)]), random_boxes(0, 1), random_boxes(9, 200)]
    maps = [torch.rand(3, 4, 32 >> i, 26 >> i).to(dtype).requires_grad_() for i in range(levels)]
    expected = usual([m.float() for m in maps], lists)
    with torch.autocast("cpu", torch.bfloat16):
        found = sparse(maps, lists)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)
    upstream = torch.rand_like(expected)
    gradients = torch.autograd.grad(expected, maps, upstream)
    with torch.autocast("cpu", torch.bfloat16):
        found_gradients = torch.autograd.grad(found, maps, upstream.to(dtype))
    for a, b in zip(found_gradients, gradients, strict=True):
        assert (a - b).float().norm() <= tolerance * b.float().norm()


def test_a_box_of_whole_pixels_gives_their_values():
    _, pooler = both(1, output_size=2)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    # bins of 4 × 4 pixels of the image are one of the map
    found = pooler([image], [boxes((4, 4, 12, 12))])
    assert found.tolist() == [[[[5.0, 6.0], [9.0, 10.0]]]]


def test_no_box_gives_no_row():
    _, pooler = both(2)
    found = pooler([torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4)], [boxes()])
    assert found.shape == (0, 4, 3, 3)


def test_poolers_of_other_settings_stay():
    network = nn.ModuleList(
        [ROIPooler(3, [0.25], 2, "ROIAlignV2"), ROIPooler(3, [0.25], 0, "ROIAlign")]
    )
    SparseROIPooler.convert(network)
    assert all(type(module) is ROIPooler for module in network)
