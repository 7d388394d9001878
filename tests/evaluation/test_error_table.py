import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.evaluation.error_table import MASK_VERDICTS, NUCLEUS_VERDICTS, count_errors
from nucdet.evaluation.matching import Intersections, match
from nucdet.structures import CroppedMasks


def errors_of(true, pred):
    found = Intersections.of_masks(true, pred)
    counts = count_errors(found, match(found))
    return {name: number for name, number in counts.items() if number}


@pytest.mark.parametrize(
    ("true", "pred", "expected"),
    [
        # the same place: found; nothing there: missed; nothing true there: false
        ([(0, 0, 9), (1, 0, 9)], [(0, 0, 9), (2, 0, 9)], {"found": 1, "missed": 1, "false": 1}),
        # one mask over two nuclei of 5 and 5 pixels: IoU 5/11 each
        ([(0, 0, 5), (0, 6, 11)], [(0, 0, 11)], {"merged": 1, "merged_nuclei": 2}),
        # one mask over a nucleus of 10 (IoU 10/14) and one of 3: the mask counts as found
        ([(0, 0, 10), (0, 11, 14)], [(0, 0, 14)], {"found": 1, "merged_nuclei": 1}),
        # one nucleus in two masks of 5 pixels: IoU 5/11 each
        ([(0, 0, 11)], [(0, 0, 5), (0, 6, 11)], {"split": 1, "split_masks": 2}),
        # one nucleus found by a mask of 10 (IoU 10/14), with a crumb of 3
        ([(0, 0, 14)], [(0, 0, 10), (0, 11, 14)], {"found": 1, "split_masks": 1}),
        # IoU 4/10, one to one
        ([(0, 0, 10)], [(0, 0, 4)], {"badly_outlined": 1}),
        # IoU 1/2 is not greater than 1/2
        ([(0, 0, 10)], [(0, 0, 5)], {"badly_outlined": 1}),
        # IoU 1/10 is not greater than 1/10, 2/19 is
        ([(0, 0, 10)], [(0, 0, 1)], {"missed": 1, "false": 1}),
        ([(0, 0, 19)], [(0, 0, 2)], {"badly_outlined": 1}),
        # a mask of 4 with 2 pixels in each of two nuclei of 4 (IoU 2/6): it goes to one of them
        (
            [(0, 0, 4), (0, 4, 8)],
            [(0, 2, 6)],
            {"badly_outlined": 1, "missed": 1},
        ),
        # and a nucleus with half of each of two masks
        ([(0, 2, 6)], [(0, 0, 4), (0, 4, 8)], {"badly_outlined": 1, "false": 1}),
        ([], [], {}),
        ([(0, 0, 3)], [], {"missed": 1}),
        ([], [(0, 0, 3)], {"false": 1}),
    ],
)
def test_each_verdict(spans, true, pred, expected):
    assert errors_of(spans(*true), spans(*pred)) == expected


def test_a_nucleus_found_twice(spans):
    # two masks alike, allowed while overlaps are not eliminated: one found it, one is too much
    assert errors_of(spans((0, 0, 9)), spans((0, 0, 9), (0, 0, 9))) == {
        "found": 1,
        "split_masks": 1,
    }


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_every_nucleus_and_every_mask_has_one_verdict(seed):
    rng = np.random.default_rng(seed)
    sets = [
        CroppedMasks.from_dense(np.repeat(rng.random((rng.integers(0, 6), 2, 5)) < 0.5, 2, axis=2))
        for _ in range(2)
    ]
    true, pred = (masks[masks.areas > 0] for masks in sets)
    found = Intersections.of_masks(true, pred)
    counts = count_errors(found, match(found))
    assert min(counts.values()) >= 0
    assert sum(counts[v] for v in NUCLEUS_VERDICTS) == len(true)
    assert sum(counts[v] for v in MASK_VERDICTS) == len(pred)
