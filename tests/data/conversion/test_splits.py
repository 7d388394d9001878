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
    # 10 kinds of one picture: each fold gets one of them
    part = assign_parts([str(i) for i in range(10)], range(10), [1] * 10, seed=3)
    assert sorted(part) == list(range(10))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_groups_stay_whole_and_folds_even(pictures, folds, seed):
    kinds, groups = zip(*pictures, strict=True)
    part = assign_parts(kinds, groups, [1] * folds, seed)
    assert len(part) == len(pictures) and set(part) <= set(range(folds))
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
