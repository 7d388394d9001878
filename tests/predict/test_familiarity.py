"""The warning of unfamiliar images, and the blank ones that get none."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from nucdet.data.io.windows import ImageWindows
from nucdet.modeling.familiarity import Familiarity, Seen
from nucdet.predict.familiarity import UNFAMILIAR, familiarity, is_blank, warning

SIZE = (200, 260)


def blank_images() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    light = np.broadcast_to(100 - 0.2 * np.arange(SIZE[1]), SIZE)
    noise = random.normal(size=SIZE)
    return {
        "constant": np.full(SIZE, 9.0),
        "noise": 100 + 8 * noise,
        "uneven light": random.poisson(light),
        "blurred": 100 + 30 * cv2.GaussianBlur(noise, (0, 0), 1),
        "tiny": np.full((5, 3), 7.0),
    }


def images() -> dict[str, np.ndarray]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    discs = ((y % 60 - 30) ** 2 + (x % 60 - 30) ** 2 < 100).astype(float)
    noise = np.random.default_rng(0).normal(size=SIZE)
    return {
        "discs": 50 * discs + 8 * noise + 50,
        "one disc": 50 * discs * (y < 60) * (x < 60) + 8 * noise + 50,
        "clouds": 100 + 500 * cv2.GaussianBlur(noise, (0, 0), 6),
        "tiny": np.eye(6) * 100,
    }


def rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", blank_images())
def test_blank(name):
    assert is_blank(rgb(blank_images()[name]))


@pytest.mark.parametrize("name", images())
def test_not_blank(name):
    assert not is_blank(rgb(images()[name]))


def test_the_warning_is_of_what_lies_beyond_the_limit():
    known = Familiarity.of_features(torch.randn(500, 4, generator=torch.Generator().manual_seed(0)))
    known = replace(known, limits=torch.tensor([2.0]), usual_doubt=0.1)
    source = ImageWindows(images()["discs"].astype(np.uint8))
    scores = torch.tensor([0.9])
    near, far = ([Seen(known.center + step, 512.0)] for step in (1.0, 9.0))
    assert familiarity(known, near, scores, source) > 1
    assert warning(familiarity(known, near, scores, source)) == ""
    assert familiarity(known, far, scores, source) < 1
    assert warning(familiarity(known, far, scores, source)) == UNFAMILIAR

    # a model that remembers nothing, and a network without an encoder, say nothing
    assert familiarity(None, far, scores, source) is None
    assert familiarity(known, [], scores, source) is None
    assert warning(None) == ""
    # nothing found: that is no mistake in an empty well, and perhaps one elsewhere
    empty = ImageWindows(blank_images()["noise"].astype(np.uint8))
    nothing = torch.zeros(0)
    assert familiarity(known, far, nothing, empty) is None
    assert familiarity(known, far, nothing, source) < 1
    assert familiarity(known, far, scores, empty) < 1
