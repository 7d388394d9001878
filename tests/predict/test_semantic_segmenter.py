"""Segmenter with semantic networks: odd images, tiles, precision, and no network at all."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn

from nucdet.errors import InputError
from nucdet.predict import Segmenter, planning
from nucdet.predict.network import _lower_precision

CONFIG = "configs/DSB2018/unet_lite0.yaml"


class Brightness(nn.Module):
    """Stands for a network: the brighter, the surer, undecided at half of 255."""

    size_divisibility, output_stride = 16, 1

    def __init__(self):
        super().__init__()
        self.gain = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.gain.weight, 4.0)

    def forward(self, x):
        return self.gain(x)


@pytest.fixture(scope="module")
def segmenter(repository):
    """Made without a network, then given one whose answers are known."""
    overrides = ["MODEL.SEGMENTATION.NETWORK", "none", "MODEL.WEIGHTS", ""]
    overrides += ["INPUT.MIN_SIZE_TEST", "0", "MODEL.SEPARATION.METHOD", "components"]
    made = Segmenter(repository / CONFIG, None, overrides, "cpu", precision="float32")
    made._finder.network.model.network = Brightness()
    return made


def discs(size: tuple[int, int], spacing: int, radius: float) -> np.ndarray:
    """The further right a disc, the brighter it is: 200 to 250; ground of 30."""
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (y % spacing - spacing / 2) ** 2 + (x % spacing - spacing / 2) ** 2 <= radius**2
    brightness = 200 + 50 * (x // spacing * spacing) / size[1]
    return np.where(inside, brightness, 30).astype(np.uint8)


def test_a_diameter_means_nothing_to_a_network_of_one_size(repository):
    overrides = ["MODEL.SEGMENTATION.NETWORK", "none", "MODEL.SEMANTIC.RESIZE", "64"]
    segmenter = Segmenter(repository / CONFIG, None, overrides, "cpu")
    image = discs((60, 80), 20, 6)
    assert len(segmenter.predict(image)) > 0
    with pytest.raises(InputError, match="at 64 × 64 pixels, however large"):
        segmenter.predict(image, diameter="auto")


def test_tiled_is_whole_and_scores_are_mean_probabilities(segmenter, monkeypatch):
    image = discs((300, 260), 26, 9)
    whole = segmenter.predict(image)
    for name, value in (("WHOLE_SIDE", 150), ("TILE_SIDE", 120), ("TILE_OVERLAP", 40)):
        monkeypatch.setattr(planning, name, value)
    tiled = segmenter.predict(image)
    assert len(whole) == len(tiled) >= 100
    np.testing.assert_array_equal(tiled.label_map() > 0, whole.label_map() > 0)
    assert sorted(tiled.pred_masks.areas) == sorted(whole.pred_masks.areas)
    for prediction in (whole, tiled):
        # the surest first, however it was seen
        assert (prediction.scores.diff() <= 0).all() and prediction.scores[0] > 0.99
        for box, crop, score in zip(
            prediction.pred_masks.slices(),
            prediction.pred_masks.crops,
            prediction.scores,
            strict=True,
        ):
            expected = 1 / (1 + np.exp(-12 * (image[box][crop] / 128 - 127 / 128)))
            assert float(score) == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.full((253, 519), 255, np.uint8),
        np.linspace(0, 1, 5000, dtype=np.float32)[None],
        np.eye(30, dtype=bool),
        np.full((9, 12), np.nan),
    ],
    ids=["8x8", "all foreground", "1x5000", "diagonal", "nan"],
)
def test_odd_images(segmenter, image):
    predicted = segmenter.predict(image)
    assert predicted.label_map().shape == image.shape[:2]
    assert len(predicted.table()) == len(predicted)


def test_bfloat16_changes_next_to_nothing(segmenter):
    network = segmenter._finder.network.model
    image = torch.from_numpy(discs((64, 48), 16, 5)).expand(3, 64, 48)
    exact = network.maps([image])
    original = network.network
    try:
        network.network = Brightness()
        with ExitStack() as undo:
            _lower_precision(network, undo)
            near = network.maps([image])
        again = network.maps([image])
    finally:
        network.network = original
    assert torch.equal(again, exact)
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, rtol=0, atol=0.02)


def test_without_a_network_nothing_has_to_be_trained(repository):
    overrides = ["MODEL.SEGMENTATION.NETWORK", "none", "MODEL.SEPARATION.THRESHOLD", "otsu"]
    classical = Segmenter(repository / CONFIG, None, overrides, "cpu")
    assert len(classical.predict(discs((80, 120), 20, 6))) == 24
