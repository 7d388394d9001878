import numpy as np
import pytest

from nucdet.modeling.center_voting.targets import (
    DEPTH,
    FOREGROUND,
    OFFSET_X,
    OFFSET_Y,
    WEIGHT,
    center,
    center_targets,
)
from nucdet.structures import CroppedMasks


def targets(labels):
    return center_targets(CroppedMasks.from_label_map(np.array(labels, np.int32)))


def test_maps_of_a_square_of_three_pixels():
    labels = np.zeros((5, 6), int)
    labels[1:4, 1:4] = 1
    maps = targets(labels)
    assert maps.dtype == np.float32 and maps.shape == (5, 5, 6)
    np.testing.assert_array_equal(maps[FOREGROUND], labels)
    # distance to the outside is 1 at the rim and 2 in the middle
    np.testing.assert_allclose(maps[DEPTH][1:4, 1:4], [[0.5] * 3, [0.5, 1, 0.5], [0.5] * 3])
    np.testing.assert_array_equal(maps[OFFSET_Y][1:4, 1:4], [[1] * 3, [0] * 3, [-1] * 3])
    np.testing.assert_array_equal(maps[OFFSET_X][1:4, 1:4], [[1, 0, -1]] * 3)
    np.testing.assert_array_equal(maps[WEIGHT], labels)
    assert not maps[:, labels == 0].any()


def test_touching_nuclei_have_centers_of_their_own():
    maps = targets([[1, 1, 1, 2, 2, 2]])
    np.testing.assert_array_equal(maps[OFFSET_X], [[1, 0, -1, 1, 0, -1]])
    # one pixel high, so all of it is rim
    np.testing.assert_array_equal(maps[DEPTH], np.ones((1, 6)))


def test_the_edge_of_the_image_is_an_outline():
    maps = targets(np.ones((5, 5), int))
    assert maps[DEPTH][0].max() == pytest.approx(1 / 3)
    assert maps[DEPTH][2, 2] == 1


def test_small_nuclei_weigh_more_by_pixel_and_the_mean_is_one():
    labels = np.zeros((12, 20), int)
    labels[1:3, 1:3], labels[2:10, 6:14] = 1, 2
    weight = targets(labels)[WEIGHT]
    assert weight[labels > 0].mean() == pytest.approx(1)
    assert weight[1, 1] / weight[5, 8] == pytest.approx(4)  # sqrt(64 / 4)


def test_no_nuclei():
    assert not center_targets(CroppedMasks.from_dense(np.zeros((0, 4, 5), bool))).any()


def test_the_center_of_a_crescent_lies_in_it():
    disc = np.hypot(*np.indices((21, 21)) - 10) <= 10
    crescent = disc & ~(np.hypot(*(np.indices((21, 21)) - [[[10]], [[13]]])) <= 8.5)
    for turned in (crescent, crescent[:, ::-1], crescent.T, crescent.T[::-1]):
        ys, xs = np.nonzero(turned)
        y, x = center(turned)
        distances = np.hypot(ys - ys.mean(), xs - xs.mean())
        assert turned[round(y), round(x)]
        assert np.hypot(y - ys.mean(), x - xs.mean()) == distances.min()
    assert center(disc) == (10, 10)
