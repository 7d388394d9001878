from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from nucdet.layers.mix_style import mix_outputs, mix_style
from nucdet.modeling.backbones.timm_fpn import TimmBackbone


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def _maps() -> torch.Tensor:
    """Two images whose channels have means around 0 and 10, and deviations of 1 and 3."""
    scale, shift = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 10.0])
    return torch.randn(2, 4, 16, 16) * scale[:, None, None, None] + shift[:, None, None, None]


def _means(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean(dim=(2, 3))


def test_statistics_lie_between_those_of_the_two_images():
    maps = _maps()
    low, high = _means(maps).min(dim=0).values, _means(maps).max(dim=0).values
    results = [_means(mix_style(maps)) for _ in range(40)]
    for result in results:
        assert (result >= low - 1e-4).all() and (result <= high + 1e-4).all()
    moved = [float((result - _means(maps)).abs().max()) for result in results]
    assert max(moved) > 8  # nearly exchanged
    assert min(moved) < 1e-4  # the other image drawn was the image itself


def test_what_is_shown_stays():
    maps = _maps()

    def shown(maps: torch.Tensor) -> torch.Tensor:
        deviation, mean = torch.std_mean(maps, dim=(2, 3), keepdim=True)
        return (maps - mean) / deviation

    assert torch.allclose(shown(mix_style(maps)), shown(maps), atol=1e-3)


def test_one_image_alone_does_not_change():
    maps = _maps()[:1]
    assert torch.allclose(mix_style(maps), maps, atol=1e-4)


def test_a_constant_map_gives_numbers_and_gradients():
    for side in (8, 1):
        maps = torch.zeros(2, 3, side, side, requires_grad=True)
        mixed = mix_style(maps)
        mixed.sum().backward()
        assert mixed.isfinite().all() and maps.grad.isfinite().all()


def test_bfloat16_stays():
    assert mix_style(_maps().bfloat16()).dtype == torch.bfloat16


def test_outputs_change_only_in_training_and_in_their_share():
    maps = _maps()
    module = nn.Identity()
    mix_outputs(module, 0.5)
    changed = sum(not torch.equal(module(maps), maps) for _ in range(100))
    assert 15 < changed < 60  # half of the time, and half of that with another image
    module.eval()
    assert torch.equal(module(maps), maps)
    again = pickle.loads(pickle.dumps(module)).train()
    assert any(not torch.equal(again(maps), maps) for _ in range(20))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_a_backbone_mixes_three_of_its_maps_in_training(name):
    images = torch.randn(4, 3, 64, 64) * torch.tensor([0.2, 1, 2, 5])[:, None, None, None]
    plain = TimmBackbone(name)
    mixing = TimmBackbone(name, mix_style=1.0)
    mixing.load_state_dict(plain.state_dict())
    assert all(len(m._forward_hooks) == 0 for m in plain.modules())
    assert sum(len(m._forward_hooks) for m in mixing.modules()) == 3
    plain.train(), mixing.train()
    assert not torch.allclose(plain(images)["res2"], mixing(images)["res2"])
    plain.eval(), mixing.eval()
    for key, maps in plain(images).items():
        assert torch.equal(maps, mixing(images)[key])
