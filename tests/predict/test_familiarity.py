"""The warning of unfamiliar images, and the blank ones that get none."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from nucdet.data.io.windows import ImageWindows
from nucdet.modeling.familiarity import Familiarity, Seen
from nucdet.predict.blank import is_blank
from nucdet.predict.familiarity import UNFAMILIAR, familiarity, warning
from nucdet.predict.finding import Found
from nucdet.predict.planning import Plan

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
        "flat": np.full((5, 300), 7.0),
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
        "blocks": np.kron(np.eye(3), np.full((64, 64), 90)),
    }


def source_of(image: np.ndarray) -> ImageWindows:
    return ImageWindows(np.clip(image, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", blank_images())
def test_blank(name):
    assert is_blank(source_of(blank_images()[name]))


@pytest.mark.parametrize("name", images())
def test_not_blank(name):
    assert not is_blank(source_of(images()[name]))


def test_only_the_middle_of_a_large_image_is_looked_at():
    image = np.full((1100, 1324), 9.0)
    image[:38] = image[-38:] = 90
    image[:, :150] = image[:, -150:] = 90
    assert is_blank(source_of(image))
    image[38, 150] = 90
    assert not is_blank(source_of(image))


def test_the_warning_is_of_what_lies_beyond_the_limit():
    known = Familiarity.of_features(torch.randn(500, 4, generator=torch.Generator().manual_seed(0)))
    known = replace(known, limits=torch.tensor([2.0]), usual_doubt=0.1)
    source, empty = source_of(images()["discs"]), source_of(blank_images()["noise"])

    def found(step: float, number: int = 1) -> Found:
        instances = Instances(SIZE, scores=torch.full((number,), 0.9))
        return Found(instances, Plan(1.0, None, []), [Seen(known.center + step, 512.0)])

    assert familiarity(known, found(1), 1, source) > 1
    assert warning(familiarity(known, found(1), 1, source)) == ""
    assert familiarity(known, found(9), 1, source) < 1
    assert warning(familiarity(known, found(9), 1, source)) == UNFAMILIAR

    # a model that remembers nothing, and a network without an encoder, say nothing
    assert familiarity(None, found(9), 1, source) is None
    assert familiarity(known, found(9)._replace(seen=[]), 1, source) is None
    assert warning(None) == ""
    # nothing left: that is no mistake in an empty well, and perhaps one elsewhere
    assert familiarity(known, found(9, 0), 0, empty) is None
    assert familiarity(known, found(9), 0, empty) is None
    assert familiarity(known, found(9, 0), 0, source) < 1
    assert familiarity(known, found(9), 1, empty) < 1


def test_an_image_after_one_that_failed_is_judged_by_itself(segmenter):
    network = segmenter._finder.network
    dark, light = (np.full((64, 64, 3), value, np.uint8) for value in (20, 220))
    expected = next(network([(light, 1.0)])).seen
    fails = network.bare_model.proposal_generator.register_forward_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            next(network([(dark, 1.0)]))
    finally:
        fails.remove()
    torch.testing.assert_close(next(network([(light, 1.0)])).seen.features, expected.features)
