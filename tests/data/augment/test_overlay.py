from __future__ import annotations

import numpy as np
import pytest

from nucdet.data.augment.overlay import overlay


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


@pytest.mark.parametrize("background, light", [(20, 80), (200, -80)])
def test_both_nuclei_are_seen_and_overlap_is_strongest(disc_sample, background, light):
    top = disc_sample((30, 24, 12), background=background, light=light, label=1)
    below = disc_sample((30, 40, 12), background=background, light=light, label=2)
    for _ in range(20):
        both = overlay(top, below)
        assert both.classes.tolist() == [1, 2]
        first, second = np.asarray(both.masks)
        assert np.array_equal(first, np.asarray(top.masks)[0])
        assert np.array_equal(second, np.asarray(below.masks)[0] & ~first)
        image = both.image[..., 0].astype(int)
        joint = np.asarray(below.masks)[0] & first
        sign = np.sign(light)
        assert (image[~first & ~second] == background).all()
        added = sign * (image[second] - background)
        assert 0.35 * abs(light) < added.min() and added.max() <= 1.1 * abs(light) + 1
        assert (sign * image[joint]).min() > (sign * image[first & ~joint]).max()


def test_nuclei_of_which_little_is_left_are_not_labelled(disc_sample):
    top = disc_sample((30, 30, 14), background=20, light=80)
    below = disc_sample((30, 32, 10), (10, 54, 6), background=20, light=80)
    result = overlay(top, below)
    assert result.masks.areas.tolist() == [top.masks.areas[0], below.masks.areas[1]]
    assert len(result.classes) == 2


def test_images_without_nuclei_and_of_other_sizes(disc_sample):
    top = disc_sample((30, 30, 8), background=20, light=80)
    empty = disc_sample(background=20, light=80)
    assert overlay(top, empty).masks.areas.tolist() == top.masks.areas.tolist()
    assert overlay(empty, top).masks.areas.tolist() == top.masks.areas.tolist()
    smaller = disc_sample((30, 30, 8), background=20, light=80, size=(64, 60))
    assert overlay(top, smaller) is top
