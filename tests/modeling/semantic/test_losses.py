from __future__ import annotations

import math

import pytest
import torch

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.modeling.semantic.losses import LOSSES, build_segmentation_loss, segmentation_loss

HALF = math.log(2)


def _loss(name, channels, **keys):
    values = {"LOSS": name, "NUM_CHANNELS": str(channels), **keys}
    pairs = [text for k, v in values.items() for text in (f"MODEL.SEGMENTATION.{k}", str(v))]
    return build_segmentation_loss(load_config(overrides=pairs))


def _logits(*probabilities):
    """Logits (1, 1, 1, W) of a row of pixels."""
    return torch.tensor(probabilities).logit()[None, None, None]


LABELS = torch.tensor([[[0, 1, 2, 0]]])


def test_bce_takes_bodies_and_borders_as_foreground():
    losses = _loss("bce", 1)(_logits(0.25, 0.5, 0.75, 0.5), LABELS, None)
    assert set(losses) == {"loss_bce"}
    expected = (2 * -math.log(0.75) + 2 * HALF) / 4
    assert float(losses["loss_bce"]) == pytest.approx(expected)


def test_dice_is_over_the_batch():
    logits = torch.cat([_logits(0.5, 0.5, 0.5, 0.5), _logits(0.25, 0.25, 0.25, 0.25)])
    labels = torch.cat([LABELS, torch.zeros_like(LABELS)])
    losses = _loss("bce_log_dice", 1)(logits, labels, None)
    # Σ p·g = 1, Σ p = 3, Σ g = 2
    assert float(losses["loss_log_dice"]) == pytest.approx(-math.log((2 * 1 + 1) / (3 + 2 + 1)))
    assert float(losses["loss_bce"]) == pytest.approx((HALF - math.log(0.75)) / 2)


def test_cross_entropy_weights_classes():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25]]))
    logits, labels = logits.T[None, :, None], torch.tensor([[[0, 1, 2]]])
    plain = _loss("cross_entropy", 3)(logits, labels, None)
    assert float(plain["loss_ce"]) == pytest.approx((HALF + HALF + 2 * HALF) / 3)
    weighted = _loss("cross_entropy", 3, CLASS_WEIGHTS=(1, 1, 4))(logits, labels, None)
    assert float(weighted["loss_ce"]) == pytest.approx((HALF + HALF + 4 * 2 * HALF) / 6)


@pytest.mark.parametrize("channels", [1, 3])
def test_border_weights_move_the_loss_to_their_pixels(channels):
    torch.manual_seed(0)
    logits = torch.randn(1, channels, 1, 4)
    loss = _loss("weighted_border", channels, CLASS_WEIGHTS=(1, 2, 3))
    # one pixel alone counts: −log p of its class, whatever the weights' height
    for pixel, height in ((0, 1.0), (2, 11.0)):
        weights = torch.zeros(1, 1, 4)
        weights[..., pixel] = height
        probabilities = logits.sigmoid() if channels == 1 else logits.softmax(dim=1)
        p = probabilities[0, :, 0, pixel]
        if channels == 1:
            expected = p[0] if LABELS[..., pixel] > 0 else 1 - p[0]
        else:
            expected = p[LABELS[0, 0, pixel]]
        found = loss(logits, LABELS, weights)["loss_border"]
        assert float(found) == pytest.approx(-math.log(expected))
    # two pixels: 1·1 for background, 2·(2 or 3) for the border
    weights = torch.tensor([[[1.0, 0.0, 2.0, 0.0]]])
    same = torch.zeros(1, channels, 1, 4)
    assert float(loss(same, LABELS, weights)["loss_border"]) == pytest.approx(
        HALF if channels == 1 else math.log(3)
    )
    with pytest.raises(ValueError, match="sem_seg_weights"):
        loss(logits, LABELS, None)


def test_focal_plays_sure_pixels_down():
    loss = _loss("focal", 1)(_logits(0.1, 0.5, 0.5, 0.9), LABELS, None)
    expected = (0.01 * -math.log(0.9) + 2 * 0.25 * HALF + 0.81 * -math.log(0.1)) / 4
    assert float(loss["loss_focal"]) == pytest.approx(expected, rel=1e-5)
    even = _loss("focal", 3)(torch.zeros(1, 3, 1, 4), LABELS, None)
    assert float(even["loss_focal"]) == pytest.approx(4 / 9 * math.log(3))


@pytest.mark.parametrize(
    ("name", "channels"), [(name, k) for name, loss in LOSSES.items() for k in loss.channels]
)
@pytest.mark.parametrize("size", [1e4, -1e4, 0.0])
def test_losses_are_finite_where_the_network_is_sure(name, channels, size):
    """Also in bfloat16 under autocast, and where there is no nucleus."""
    loss = _loss(name, channels)
    for labels in (LABELS, torch.zeros_like(LABELS)):
        logits = torch.zeros(1, channels, 1, 4)
        logits[:, -1] = size
        logits = logits.to(torch.bfloat16).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            losses = loss(logits, labels, torch.ones(1, 1, 4))
        assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in losses.values())
        sum(losses.values()).backward()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("name", "channels", "keys", "message"),
    [
        ("dice", 1, {}, "LOSS is 'dice', expected one of"),
        ("bce", 3, {}, "NUM_CHANNELS is 3, expected 1 for LOSS 'bce'"),
        ("cross_entropy", 1, {}, "NUM_CHANNELS is 1, expected 3"),
        ("focal", 2, {}, "expected 1 or 3"),
        ("focal", 3, {"CLASS_WEIGHTS": (1, 1)}, "CLASS_WEIGHTS is"),
    ],
)
def test_wrong_keys_are_one_line(name, channels, keys, message):
    with pytest.raises(InputError, match=message):
        _loss(name, channels, **keys)


def test_a_name_has_one_loss():
    with pytest.raises(ValueError, match="'bce' already"):
        segmentation_loss("bce", channels=(1,))(lambda logits, labels, weights: {})
