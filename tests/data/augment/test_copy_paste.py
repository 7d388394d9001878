from __future__ import annotations

import cv2
import numpy as np
import pytest

from nucdet.data.augment.copy_paste import paste_nuclei


def test_a_nucleus_goes_to_an_empty_image_with_its_class(disc_sample):
    np.random.seed(0)
    source = disc_sample((40, 40, 8), label=3)
    result = paste_nuclei(disc_sample(), source, max_fraction=1.0, touching=0.0)
    assert result.classes.tolist() == [3]
    assert result.masks.areas.tolist() == source.masks.areas.tolist()
    inside = cv2.erode(np.asarray(result.masks)[0].astype(np.uint8), np.ones((5, 5)))
    assert (result.image[inside > 0] >= 199).all()
    outside = ~np.asarray(result.masks)[0]
    assert (result.image[outside] == 50).all()


@pytest.mark.parametrize("touching", [0.0, 1.0])
def test_masks_follow_pixels_and_share_none(disc_sample, touching):
    np.random.seed(1)
    sample = disc_sample((20, 20, 8), (25, 60, 6), (60, 30, 10), (70, 75, 7))
    numbers = set()
    for _ in range(30):
        result = paste_nuclei(sample, sample, max_fraction=1.0, touching=touching)
        dense = np.asarray(result.masks)
        assert dense.sum(axis=0).max() == 1
        assert len(result.classes) == len(result.masks)
        differs = dense.any(axis=0) != (result.image[..., 0] > 110)
        assert differs.sum() <= 8 * len(dense)  # soft edges
        # the originals come first and lose at most 15 % of the area of what covers them
        lost = sample.masks.areas - result.masks.areas[:4]
        assert (lost >= 0).all() and lost.sum() <= 0.15 * result.masks.areas[4:].sum()
        numbers.add(len(dense))
    assert min(numbers) == 5 and max(numbers) > 6


def test_touching_copies_touch(disc_sample):
    np.random.seed(2)
    sample = disc_sample((48, 48, 9))
    for _ in range(20):
        result = paste_nuclei(sample, sample, max_fraction=1.0, touching=1.0)
        old, copy = np.asarray(result.masks).astype(np.uint8)
        assert (cv2.dilate(copy, np.ones((3, 3), np.uint8)) & old).any()
        assert copy.sum() == sample.masks.areas[0]


def test_free_copies_leave_the_others_whole(disc_sample):
    np.random.seed(3)
    sample = disc_sample((20, 20, 8), (60, 60, 12))
    for _ in range(20):
        result = paste_nuclei(sample, sample, max_fraction=1.0, touching=0.0)
        assert result.masks.areas[:2].tolist() == sample.masks.areas.tolist()


def test_cut_nuclei_and_debris_are_not_copied(disc_sample):
    cut = disc_sample((3, 40, 8))
    assert paste_nuclei(disc_sample(), cut, 1.0, 0.0).masks.areas.tolist() == []
    debris = disc_sample((3, 40, 8), (93, 40, 8), (50, 50, 1))
    assert paste_nuclei(disc_sample(), debris, 1.0, 0.0).masks.areas.tolist() == []
    assert len(paste_nuclei(disc_sample(), disc_sample(), 1.0, 0.5).masks) == 0


def test_copies_are_as_much_brighter_as_the_background_is(disc_sample):
    np.random.seed(4)
    source = disc_sample((40, 40, 8), background=100, light=50)
    result = paste_nuclei(disc_sample(background=20), source, 1.0, 0.0)
    assert result.image.max() == 70
    assert result.image.min() == 20


def test_a_nucleus_that_is_wholly_covered_is_gone(disc_sample):
    np.random.seed(5)
    result = paste_nuclei(disc_sample((48, 48, 0)), disc_sample((40, 40, 9), label=2), 1.0, 1.0)
    assert result.classes.tolist() == [2]
    assert len(result.masks) == 1
