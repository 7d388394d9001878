"""Polygons are filled as pycocotools fills them, and refused where it would fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

fast = settings(deadline=None, max_examples=80)


points = st.lists(st.integers(-20, 140).map(lambda v: v / 10), min_size=6, max_size=16)


@fast
@given(st.lists(st.lists(points, max_size=3), max_size=3))
def test_filled_as_pycocotools_fills_them(instances):
    instances = [[part[: len(part) // 2 * 2] for part in parts] for parts in instances]
    masks = CroppedMasks.from_coco(instances, (9, 12))
    for mask, parts in zip(masks, instances, strict=True):
        expected = np.zeros((9, 12), dtype=bool)
        for part in parts:
            expected |= coco_mask.decode(coco_mask.frPyObjects([part], 9, 12))[:, :, 0] > 0
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    "part",
    [
        [1, 1, 5, 5],
        [1, 1, 5, 1, 5, 5, 1],
        [1, 1, 5, 1, 5, float("nan")],
        [1, 1, 5, 1, 5, 10**400],
        [[1, 1], [5, 1]],
        "1 1 5 1",
    ],
)
def test_bad_polygons_are_refused(part):
    with pytest.raises(InputError, match=r"^polygon .*expected"):
        CroppedMasks.from_coco([[[0, 0, 3, 0, 3, 3]], [part]], (9, 12))


def test_what_lies_far_outside_the_image_is_cut_off():
    far = [[0, 0, 1e6, 0, 1e6, 10, 0, 10]]
    assert CroppedMasks.from_coco([far], (20, 30)).areas.tolist() == [10 * 30]


@pytest.mark.parametrize("farthest", [1.1e7, -1.1e7, 1e200])
def test_coordinates_that_would_take_gigabytes_are_refused(farthest):
    with pytest.raises(InputError, match=r"^polygon with a coordinate 1.* from the image's corner"):
        CroppedMasks.from_coco([[[0, 0, farthest, 0, farthest, 10, 0, 10]]], (20, 30))


def test_images_of_which_the_pixels_do_not_fit_in_32_bits_are_refused():
    square = [[[0, 0, 3, 0, 3, 3, 0, 3]]]
    assert CroppedMasks.from_coco(square, (65535, 65537)).areas.tolist() == [9]
    with pytest.raises(InputError, match=r"^polygons in an image 65536 high .* as RLE$"):
        CroppedMasks.from_coco(square, (65536, 65536))


def test_an_outline_far_from_the_image_covers_nothing_of_it():
    far = [[9e6, 2, 9e6, 8, 9e6 + 5, 8]]
    assert CroppedMasks.from_coco([far], (20, 30)).areas.tolist() == [0]


def test_a_zigzag_that_would_take_gigabytes_is_refused():
    zigzag = [0, 0, 1e6, 1] * 20
    with pytest.raises(InputError, match="outline of 40000000 pixels: expected at most 10000000"):
        CroppedMasks.from_coco([[zigzag]], (20, 30))
