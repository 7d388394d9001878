from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.data.conversion.splits import assign_parts


def test_each_kind_in_proportion():
    kinds = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    part = assign_parts(kinds, range(100), (0.9, 0.1), seed=0)
    val = Counter(kind for kind, p in zip(kinds, part, strict=True) if p == 1)
    assert val == {"a": 6, "b": 3, "c": 1}


def test_small_kinds_are_spread_over_the_folds():
    # 10 kinds of one image: each fold gets one of them
    part = assign_parts([str(i) for i in range(10)], range(10), [1] * 10, seed=3)
    assert sorted(part) == list(range(10))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_groups_stay_whole_and_folds_even(images, folds, seed):
    kinds, groups = zip(*images, strict=True)
    part = assign_parts(kinds, groups, [1] * folds, seed)
    assert len(part) == len(images) and set(part) <= set(range(folds))
    for group in set(groups):
        assert len({p for p, g in zip(part, groups, strict=True) if g == group}) == 1
    # the fullest fold is ahead of the emptiest by at most one group of each kind
    sizes = np.bincount(part, minlength=folds)
    assert np.ptp(sizes) <= 2 * max(Counter(groups).values())


def test_only_the_seed_decides():
    kinds, groups = ["a"] * 40, list(range(40))
    one = assign_parts(kinds, groups, (0.5, 0.5), 7)
    np.testing.assert_array_equal(one, assign_parts(kinds, groups, (0.5, 0.5), 7))
    assert (one != assign_parts(kinds, groups, (0.5, 0.5), 8)).any()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12)), min_size=40, max_size=80),
    st.sampled_from([0.1, 0.2, 0.35]),
    st.integers(0, 5),
)
def test_groups_go_to_the_small_part_too(clusters, fraction, seed):
    kinds = [kind for kind, size in clusters for _ in range(size)]
    groups = np.repeat(np.arange(len(clusters)), [size for _, size in clusters])
    part = assign_parts(kinds, groups, (1 - fraction, fraction), seed)
    grouped = np.repeat([size > 1 for _, size in clusters], [size for _, size in clusters])
    if grouped.any():
        # no further from its share than half the largest group, and some slack for the two kinds
        assert abs(part[grouped].sum() - fraction * grouped.sum()) <= 12
    assert abs(part.sum() - fraction * len(part)) <= 12


def test_tiles_of_mosaics_and_single_images_are_shared_out_alike():
    # 40 mosaics of 4 tiles and 160 single images: a tenth of each belongs in val
    groups = [*np.repeat(np.arange(40), 4), *range(40, 200)]
    part = assign_parts(["a"] * 320, groups, (0.9, 0.1), seed=0)
    assert part[:160].sum() == 16 and part[160:].sum() == 16


def test_sizes_are_shared_out_within_each_kind():
    kinds, sizes = ["a"] * 100 + ["b"] * 100, [((256, 256),)] * 50 + [((360, 360),)] * 150
    part = assign_parts(kinds, range(200), (0.8, 0.2), 1, sizes)
    assert [part[:50].sum(), part[50:100].sum(), part[100:].sum()] == [10, 10, 20]
