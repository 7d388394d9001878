"""What a model remembers of its training images: distances that are known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nucdet.modeling.backbones.timm_fpn import TimmBackbone
from nucdet.modeling.familiarity import Familiarity, FeatureTap, Seen, pooled


def test_pooled_is_mean_and_log_deviation_of_each_channel():
    halves = torch.ones(1, 1, 4, 4)
    halves[..., :2] = -1
    maps = [torch.cat([halves, torch.full((1, 1, 4, 4), 3.0)], dim=1), torch.zeros(1, 1, 2, 2)]
    expected = [0, 3, math.log(1.02), math.log(0.02), 0, math.log(0.02)]
    torch.testing.assert_close(pooled(maps), torch.tensor([expected]))


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    """The first number scatters by 5, the second by 0.1, the third nearly follows the first."""
    random = torch.Generator().manual_seed(0)
    first, second, rest = torch.randn(3, 2000, generator=random)
    return torch.stack([5 * first, 0.1 * second + 7, first + 0.3 * rest], dim=1)


@pytest.fixture(scope="module")
def known(features) -> Familiarity:
    return Familiarity.of_features(features)


def test_distance_is_measured_in_the_scatter_of_training(known, features):
    assert 0.7 < known.distances(features).square().mean() < 1
    away = known.center + torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 1], [5, 0, -1]])
    at_center, along_wide, along_narrow, together, against = known.distances(away).tolist()
    assert at_center == 0
    assert along_wide < 1 < 5 < along_narrow
    # to where no training image lies, though each number alone is common
    assert against > 2 * together


def test_strangeness_asks_for_size_median_tile_and_scores(known):
    known = Familiarity(
        known.center, known.whitening, torch.tensor([64.0, 256.0]), torch.tensor([4.0, 1.0]), 0.1
    )
    one = known.center + torch.tensor([1.0, 0.5, 0])
    distance = float(known.distances(one[None]))
    none = torch.zeros(0)
    sides = (32, 64, 128, 256, 1000)
    found = [known.strangeness([Seen(one, side)], none) for side in sides]
    expected = [distance / limit for limit in (4, 4, 2, 1, 1)]
    assert found == pytest.approx(expected, rel=1e-4)

    tiles = [Seen(known.center, 256.0), Seen(one, 256.0), Seen(one + 100, 256.0)]
    usual = torch.tensor([0.8, 1.0])
    assert known.strangeness(tiles, usual) == pytest.approx(distance, rel=1e-4)
    unsure, sure = (known.strangeness(tiles, torch.tensor([s])) for s in (0.6, 1.0))
    assert sure < distance < unsure


def test_a_checkpoint_keeps_it_and_holds_nothing_but_tensors(known, tmp_path):
    torch.save({"model": {}, "familiarity": known.state()}, tmp_path / "model.pth")
    content = torch.load(tmp_path / "model.pth", weights_only=True)
    again = Familiarity.from_checkpoint(content)
    torch.testing.assert_close(vars(again), vars(known))
    assert Familiarity.from_checkpoint({"model": {}}) is None


def test_the_tap_hears_each_image_of_a_batch_once():
    torch.manual_seed(0)
    model = nn.Sequential(TimmBackbone("tf_efficientnet_lite0", norm="BN")).eval()
    tap = FeatureTap(model)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        model(images)
        # another view of the same images
        model(images.flip(3))
    first, second = tap.take()
    assert tap.take() == []
    assert first.side == pytest.approx((64 * 96) ** 0.5)
    # channels at the strides 4, 8 and 16
    assert first.features.shape == (2 * (24 + 40 + 112),)
    with torch.no_grad():
        model(images[1:])
    torch.testing.assert_close(tap.take()[0].features, second.features, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first.features, second.features)

    model.train()
    model(images)
    assert tap.take() == []
    tap.close()
    model.eval()(images)
    assert tap.take() == []
    assert FeatureTap(nn.Conv2d(3, 3, 1)).take() == []
