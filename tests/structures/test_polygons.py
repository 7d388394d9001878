"""Polygons: filled as pycocotools fills them, traced so that filling gives the mask back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

fast = settings(deadline=None, max_examples=80)


def test_outline_known_by_hand():
    dense = np.zeros((1, 4, 6), dtype=bool)
    dense[0, 1:3, 2:5] = True
    dense[0, 3, 0] = True
    parts = CroppedMasks.from_dense(dense).to_polygons()[0]
    corners = {frozenset(zip(part[::2], part[1::2], strict=True)) for part in parts}
    assert corners == {
        frozenset({(2, 1), (5, 1), (5, 3), (2, 3)}),
        frozenset({(0, 3), (1, 3), (1, 4), (0, 4)}),
    }
    assert all(len(part) == 8 for part in parts)


@fast
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.booleans()))
def test_outlines_filled_again_give_the_mask_with_holes_closed(mask):
    traced = CroppedMasks.from_dense(mask[None]).to_polygons()
    filled = CroppedMasks.from_polygons(traced, mask.shape).to_dense()[0]
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask))


points = st.lists(st.integers(-20, 140).map(lambda v: v / 10), min_size=6, max_size=16)


@fast
@given(st.lists(st.lists(points, max_size=3), max_size=3))
def test_filled_as_pycocotools_fills_them(instances):
    instances = [[part[: len(part) // 2 * 2] for part in parts] for parts in instances]
    masks = CroppedMasks.from_polygons(instances, (9, 12))
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
        CroppedMasks.from_polygons([[[0, 0, 3, 0, 3, 3]], [part]], (9, 12))


def test_what_lies_far_outside_the_image_is_cut_off():
    far = [[0, 0, 1e6, 0, 1e6, 10, 0, 10]]
    assert CroppedMasks.from_polygons([far], (20, 30)).areas.tolist() == [10 * 30]


@pytest.mark.parametrize("farthest", [1.1e7, -1.1e7, 1e200])
def test_coordinates_that_would_take_gigabytes_are_refused(farthest):
    with pytest.raises(InputError, match=r"^polygon with a coordinate 1.* from the image's corner"):
        CroppedMasks.from_polygons([[[0, 0, farthest, 0, farthest, 10, 0, 10]]], (20, 30))


def test_images_of_which_the_pixels_do_not_fit_in_32_bits_are_refused():
    square = [[[0, 0, 3, 0, 3, 3, 0, 3]]]
    assert CroppedMasks.from_polygons(square, (65535, 65537)).areas.tolist() == [9]
    with pytest.raises(InputError, match=r"^polygons in an image 65536 high .* as RLE$"):
        CroppedMasks.from_polygons(square, (65536, 65536))


def test_an_outline_far_from_the_image_covers_nothing_of_it():
    far = [[9e6, 2, 9e6, 8, 9e6 + 5, 8]]
    assert CroppedMasks.from_polygons([far], (20, 30)).areas.tolist() == [0]


def test_a_zigzag_that_would_take_gigabytes_is_refused():
    zigzag = [0, 0, 1e6, 1] * 20
    with pytest.raises(InputError, match="outline of 40000000 pixels: expected at most 10000000"):
        CroppedMasks.from_polygons([[zigzag]], (20, 30))
