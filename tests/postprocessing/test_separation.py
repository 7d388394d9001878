"""Separation: each threshold and method on shapes with known answers, and odd images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.draw import disk
from skimage.measure import label

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.postprocessing.relief import split_at_saddles
from nucdet.postprocessing.separation import METHODS, Separation

THRESHOLDS = ("fixed", "otsu", "hysteresis")


def discs(shape, *circles, value=1.0):
    """Foreground of circles (y, x, radius)."""
    foreground = np.zeros(shape, np.float32)
    for y, x, radius in circles:
        foreground[disk((y, x), radius, shape=shape)] = value
    return foreground


# two of radius 10 that overlap in a neck of 11 pixels
TOUCHING = discs((40, 60), (20, 17, 10.5), (20, 35, 10.5))


def separate(foreground, border=None, **kwargs):
    masks, scores = Separation(**{"min_size": 1, **kwargs})(foreground, border)
    assert scores.dtype == np.float32
    assert len(scores) == len(masks)
    return masks, scores


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        ({"threshold": "fixed", "threshold_value": 0.5}, [3, 4]),
        ({"threshold": "fixed", "threshold_value": 0.2}, [4, 5, 6]),
        ({"threshold": "otsu"}, [3, 4]),
        ({"threshold": "hysteresis", "hysteresis": (0.2, 0.8)}, [4, 6]),
    ],
)
def test_thresholds(threshold, expected):
    foreground = np.zeros((3, 30), np.float32)
    foreground[1, 1:7] = [0.3, 0.9, 0.9, 0.9, 0.3, 0.3]  # 3 sure, 3 more likely
    foreground[1, 10:15] = 0.3  # nowhere sure
    foreground[1, 20:24] = 0.9
    masks, _ = separate(foreground, method="components", **threshold)
    assert sorted(masks.areas.tolist()) == expected


def test_otsus_threshold_follows_the_map():
    dim = discs((30, 40), (15, 12, 7.5), value=0.3) + np.float32(0.05)
    masks, _ = separate(dim, method="components", threshold="otsu")
    assert np.array_equal(masks.to_label_map() > 0, dim > 0.2)
    # a constant map has no threshold of Otsu
    constant = np.full((4, 4), 0.4, np.float32)
    for value, expected in ((0.3, [16]), (0.5, [])):
        masks, _ = separate(constant, threshold="otsu", threshold_value=value)
        assert masks.areas.tolist() == expected


def test_fixed_threshold_belongs_to_the_foreground():
    masks, scores = separate(np.full((4, 4), 0.5, np.float32), threshold_value=0.5)
    assert masks.areas.tolist() == [16]
    assert scores.tolist() == [0.5]


def test_components_leave_touching_nuclei_together():
    assert len(separate(TOUCHING, method="components")[0]) == 1


def test_components_that_meet_at_a_corner_are_two():
    masks, _ = separate(np.eye(2, dtype=np.float32), method="components")
    assert len(masks) == 2


@pytest.mark.parametrize("method", ["watershed", "opening"])
def test_touching_nuclei_are_cut_at_the_neck(method):
    masks, _ = separate(TOUCHING, method=method, opening_radius=6)
    assert len(masks) == 2
    left, right = (m.nonzero()[1] for m in sorted(masks, key=lambda m: m.nonzero()[1].min()))
    assert left.max() in (25, 26)
    assert right.min() in (26, 27)


def test_opening_is_exactly_the_opening():
    from skimage.morphology import disk as footprint
    from skimage.morphology import opening

    mask = discs((60, 60), (20, 20, 9), (35, 32, 8), (50, 50, 2.2), (10, 50, 4))
    mask[20, :] = 1  # a hair
    masks, _ = separate(mask, method="opening", opening_radius=3, fill_holes=False)
    expected = opening(np.pad(mask, 8, mode="edge"), footprint(3))[8:-8, 8:-8]
    assert np.array_equal(masks.to_label_map() > 0, expected > 0)


def test_opening_does_not_jump_over_a_gap():
    mask = discs((30, 40), (15, 10, 7.5))
    mask[:, 19] = 1  # a wall too thin for a core, one pixel off the disc
    masks, _ = separate(mask, method="opening", opening_radius=3)
    assert len(masks) == 1
    assert masks.boxes[0, 2] <= 19


def test_borders_cut_where_the_outline_has_no_neck():
    foreground = np.zeros((20, 40), np.float32)
    foreground[5:15, 4:36] = 1
    border = np.zeros_like(foreground)
    border[5:15, 19:21] = 0.8
    assert len(separate(foreground)[0]) == 1
    masks, _ = separate(foreground, border)
    assert masks.areas.tolist() == [160, 160]


def test_an_elongated_or_rough_nucleus_stays_whole():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :100]
    ellipse = ((x - 50) / 40) ** 2 + ((y - 30) / 15) ** 2
    rough = (ellipse + 0.05 * rng.standard_normal(ellipse.shape) < 1).astype(np.float32)
    assert len(separate(rough, min_size=10)[0]) == 1


def test_score_is_the_mean_inside():
    foreground = np.zeros((5, 20), np.float32)
    foreground[2, 2:6] = [0.6, 0.8, 1.0, 0.6]
    foreground[2, 10:12] = 0.9
    masks, scores = separate(foreground, method="components")
    assert dict(zip(masks.areas.tolist(), scores.tolist(), strict=True)) == pytest.approx(
        {4: 0.75, 2: 0.9}
    )


def test_small_instances_are_dropped_and_none_is_cut_off():
    foreground = discs((40, 60), (20, 20, 10.5), (20, 34, 4.5), (5, 50, 1.2))
    assert len(separate(foreground, depth=0.1)[0]) == 3
    masks, _ = separate(foreground, depth=0.1, min_size=90)
    assert masks.areas.tolist() == [np.count_nonzero(foreground[:, :45])]


def test_holes():
    foreground = discs((30, 30), (15, 15, 10))
    foreground[14:17, 14:17] = 0.1
    area = np.count_nonzero(foreground > 0)
    masks, scores = separate(foreground)
    assert masks.areas.tolist() == [area]
    assert scores[0] == pytest.approx((area - 9 + 0.9) / area)
    assert separate(foreground, fill_holes=False)[0].areas.sum() == area - 9


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (8, 8), (253, 519)])
@pytest.mark.parametrize("with_border", [False, True])
def test_odd_images(threshold, method, shape, with_border):
    settings = {"threshold": threshold, "method": method, "fill_holes": True}
    border = np.zeros(shape, np.float32) if with_border else None
    empty = np.zeros(shape, np.float32)
    masks, scores = separate(empty, border, **settings)
    assert (len(masks), masks.image_size, scores.shape) == (0, shape, (0,))

    masks, scores = separate(empty + 1, border, **settings)
    assert masks.areas.tolist() == [shape[0] * shape[1]]
    assert scores.tolist() == [1]

    if empty.size > 1 and method != "opening":
        empty[-1, -1] = 1
        masks, _ = separate(empty, border, **settings)
        assert masks.boxes.tolist() == [[shape[1] - 1, shape[0] - 1, shape[1], shape[0]]]


maps = arrays.arrays(
    np.float32, (9, 11), elements=st.sampled_from([np.float32(v) for v in (0, 0.25, 0.5, 0.75, 1)])
)


@settings(deadline=None, max_examples=60)
@given(maps, st.none() | maps, st.sampled_from([*METHODS]), st.sampled_from(THRESHOLDS))
def test_instances_are_disjoint_connected_and_foreground(foreground, border, method, threshold):
    separation = Separation(
        method=method, threshold=threshold, min_size=3, fill_holes=False, opening_radius=1
    )
    masks, scores = separation(foreground, border)
    dense = masks.to_dense()
    assert dense.sum(axis=0).max(initial=0) <= 1
    mask = separation.foreground_mask(foreground)
    assert not (dense.any(axis=0) & ~mask).any()
    for instance, score in zip(dense, scores, strict=True):
        assert instance.sum() >= 3
        assert label(instance, connectivity=1).max() == 1
        assert score == pytest.approx(foreground[instance].mean())
    if method == "watershed":
        # all foreground but small pieces is kept
        pieces = label(mask, connectivity=1)
        large = np.bincount(pieces.ravel()) >= 3
        assert np.array_equal(dense.any(axis=0), mask & large[pieces])


def test_joining_follows_the_highest_way():
    # three hills in a chain: a shallow dip first, a deep one between the first two and the third
    relief = np.array([[0, 8, 7, 9, 3, 4, 0]], np.float32)
    mask = relief > 0
    assert split_at_saddles(relief, mask, 0.2).tolist() == [[0, 1, 1, 1, 1, 2, 0]]
    assert split_at_saddles(relief, mask, 0.3).tolist() == [[0, 1, 1, 1, 1, 1, 0]]
    assert split_at_saddles(relief, mask, 0.0).max() == 3


def test_joined_hills_are_as_high_as_the_higher_one():
    # the last valley is 0.35 of the 6 deep, but only 0.22 of the 5
    for relief in ([[5, 4, 6, 3.9, 9]], [[6, 4, 5, 3.9, 9]]):
        relief = np.array(relief, np.float32)
        assert split_at_saddles(relief, relief > 0, 0.3)[0, [0, 1, 2, 4]].tolist() == [1, 1, 1, 2]
        assert split_at_saddles(relief, relief > 0, 0.4).max() == 1


def test_a_hill_that_is_too_small_is_joined_over_its_highest_saddle():
    relief = np.array([[9, 9, 9, 9, 2, 8, 4, 7, 7, 7, 7]], np.float32)
    mask = relief > 0
    assert split_at_saddles(relief, mask, 0.1).max() == 3
    # the basin of the 8 holds at most the two saddles beside it
    labels = split_at_saddles(relief, mask, 0.1, min_size=4)
    assert labels[0, :4].tolist() == [1] * 4
    assert labels[0, 5:].tolist() == [2] * 6


def test_hills_below_0_are_no_nuclei_of_their_own():
    relief = np.array([[5, -3, -1, -4, -2]], np.float32)
    assert split_at_saddles(relief, np.ones((1, 5), bool), 0.1).tolist() == [[1, 1, 1, 1, 1]]


def test_from_config():
    cfg = load_config(
        overrides=["MODEL.SEPARATION.METHOD", "components", "MODEL.SEPARATION.MIN_SIZE", "600"]
    )
    assert len(Separation(cfg)(TOUCHING)[0]) == 1
    cfg.MODEL.SEPARATION.MIN_SIZE = 700
    assert len(Separation(cfg)(TOUCHING)[0]) == 0


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("THRESHOLD", "otzu", "fixed, otsu, hysteresis"),
        ("METHOD", "cut", "components, opening, watershed"),
        ("THRESHOLD_VALUE", 1.5, "0 to 1"),
        ("HYSTERESIS", (0.7, 0.3), "the lower and the higher"),
        ("HYSTERESIS", (0.7,), "the lower and the higher"),
        ("OPENING_RADIUS", 0.0, "above 0"),
        ("DEPTH", 2.0, "0 to 1"),
        ("MIN_SIZE", -1, "0 or more"),
    ],
)
def test_wrong_values_are_one_line(key, value, expected):
    cfg = load_config()
    cfg.MODEL.SEPARATION[key] = value
    with pytest.raises(InputError, match=rf"MODEL\.SEPARATION\.{key} is .*{expected}"):
        Separation(cfg)
