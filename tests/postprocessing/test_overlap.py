"""Overlap elimination: properties on random masks, and each rule on masks with known answers."""

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.postprocessing import eliminate_overlaps
from nucdet.postprocessing.cutting import keep_largest_pieces
from nucdet.structures import CroppedMasks

fast = settings(deadline=None, max_examples=80)


@st.composite
def rings(draw) -> np.ndarray:
    """Up to 6 masks of one or two rectangles, with or without a hole, in an image of 12x14."""
    dense = np.zeros((draw(st.integers(0, 6)), 12, 14), dtype=bool)
    for mask in dense:
        for _ in range(draw(st.integers(0, 2))):
            y, x = draw(st.integers(0, 11)), draw(st.integers(0, 13))
            h, w = draw(st.integers(1, 12)), draw(st.integers(1, 12))
            mask[y : y + h, x : x + w] = True
            if draw(st.booleans()):
                mask[y + 1 : y + h - 1, x + 1 : x + w - 1] = False
    return dense


ranking = st.fixed_dictionaries(
    {
        "priority": st.sampled_from(["area", "score"]),
        "scores": st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=6, max_size=6).map(np.array),
    }
)

rules = st.fixed_dictionaries(
    {
        "min_area": st.integers(0, 9),
        "keep_largest_piece": st.booleans(),
        "fill_holes": st.booleans(),
    }
)


def run(dense, scores, **settings):
    masks, kept = eliminate_overlaps(
        CroppedMasks.from_dense(dense), scores[: len(dense)], **settings
    )
    return masks.to_dense(), kept


@fast
@given(rings(), ranking)
def test_pixels_go_to_the_highest_rank(dense, how):
    left, kept = run(dense, **how)
    rank = dense.sum(axis=(1, 2)) if how["priority"] == "area" else how["scores"]
    winner = np.zeros(dense.shape[1:], dtype=int)
    for y, x in np.ndindex(winner.shape):
        covering = np.flatnonzero(dense[:, y, x]).tolist()
        winner[y, x] = max(covering, key=lambda i: (rank[i], -i)) + 1 if covering else 0
    np.testing.assert_array_equal(kept, np.unique(winner[winner > 0]) - 1)
    np.testing.assert_array_equal(((kept + 1)[:, None, None] * left).sum(axis=0), winner)


@fast
@given(rings(), ranking, rules, st.sampled_from([0.0, 0.5]))
def test_result_is_disjoint_and_nothing_appears_from_nowhere(dense, how, rules, share):
    left, kept = run(dense, **how, **rules, min_relative_area=share)
    assert left.sum(axis=0).max(initial=0) <= 1
    assert (np.diff(kept) > 0).all() and len(kept) == len(left)
    assert (left.sum(axis=(1, 2)) >= max(rules["min_area"], 1)).all()
    if not rules["fill_holes"]:
        assert (left <= dense[kept]).all()


@fast
@given(rings(), ranking, rules)
def test_applied_again_it_changes_nothing(dense, how, rules):
    left, kept = run(dense, **how, **rules)
    how = {**how, "scores": how["scores"][: len(dense)][kept]}
    again, kept_again = run(left, **how, **rules)
    assert kept_again.tolist() == list(range(len(left)))
    np.testing.assert_array_equal(again, left)


@fast
@given(rings(), rules, st.sampled_from([0.0, 0.5]), st.randoms(use_true_random=False))
def test_order_does_not_matter_without_ties(dense, rules, share, random):
    order = np.array(random.sample(range(len(dense)), len(dense)), dtype=int)
    scores = np.linspace(0, 1, 6)
    rules = {**rules, "priority": "score", "min_relative_area": share}
    left, kept = run(dense, scores, **rules)
    shuffled, kept_shuffled = run(dense[order], scores[order], **rules)
    back = np.argsort(order[kept_shuffled])
    np.testing.assert_array_equal(order[kept_shuffled][back], kept)
    np.testing.assert_array_equal(shuffled[back], left)


def test_area_keeps_the_largest_whole_and_score_the_surest(rows, spans_of):
    masks = rows((0, 4), (2, 8))
    assert spans_of(eliminate_overlaps(masks)[0]) == [(0, 2), (2, 8)]
    by_score, _ = eliminate_overlaps(masks, np.array([0.9, 0.8]), "score")
    assert spans_of(by_score) == [(0, 4), (4, 8)]


def test_the_lower_index_wins_a_tie(rows, spans_of):
    masks = rows((0, 4), (2, 6))
    assert spans_of(eliminate_overlaps(masks)[0]) == [(0, 4), (4, 6)]
    assert spans_of(eliminate_overlaps(masks[[1, 0]])[0]) == [(2, 6), (0, 2)]


def test_small_and_covered_masks_are_dropped(rows, spans_of):
    masks = rows((0, 6), (1, 3), (5, 8), (9, 9))
    left, kept = eliminate_overlaps(masks)
    assert kept.tolist() == [0, 2] and spans_of(left) == [(0, 6), (6, 8)]
    assert eliminate_overlaps(masks, min_area=3)[1].tolist() == [0]


def test_what_is_too_small_takes_no_pixel_from_others(rows):
    left, kept = eliminate_overlaps(rows((0, 6), (2, 3)), np.array([0.5, 0.9]), "score", min_area=2)
    assert kept.tolist() == [0] and left.areas.tolist() == [6]


def test_relative_area_is_a_share_of_the_mean(rows):
    """Areas 6, 4, 1: the mean is 11/3, its quarter 0.9, its third 1.2."""
    masks = rows((0, 6), (6, 10), (11, 12))
    assert eliminate_overlaps(masks, min_relative_area=1 / 4)[1].tolist() == [0, 1, 2]
    assert eliminate_overlaps(masks, min_relative_area=1 / 3)[1].tolist() == [0, 1]


def test_only_the_largest_piece_of_what_was_cut_apart_stays(rows, spans_of):
    cut = rows((0, 12), (3, 6))
    scores = np.array([0.1, 0.9])
    left, _ = eliminate_overlaps(cut, scores, "score")
    assert left.areas.tolist() == [9, 3]
    left, _ = eliminate_overlaps(cut, scores, "score", keep_largest_piece=True)
    assert spans_of(left) == [(6, 12), (3, 6)]


def test_pieces_of_a_mask_that_lost_nothing_stay():
    dense = np.array([[[1, 1, 0, 1]]], dtype=bool)
    left, _ = eliminate_overlaps(CroppedMasks.from_dense(dense), keep_largest_piece=True)
    assert left.areas.tolist() == [3]


def test_pixels_that_touch_at_a_corner_are_one_piece():
    dense = np.zeros((2, 3, 4), dtype=bool)
    dense[0] = [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    dense[1, 1, 2:] = dense[1, 2, 2:] = True
    left, _ = eliminate_overlaps(CroppedMasks.from_dense(dense), keep_largest_piece=True)
    assert left.areas.tolist() == [2, 4]


def ring_with(inner: list[tuple[int, int]]) -> CroppedMasks:
    """A 6x6 ring around a hole of 4x4, and a mask of the given pixels in it."""
    dense = np.zeros((2, 8, 8), dtype=bool)
    dense[0, 1:7, 1:7] = True
    dense[0, 2:6, 2:6] = False
    for y, x in inner:
        dense[1, y, x] = True
    return CroppedMasks.from_dense(dense)


def test_empty_holes_are_filled_and_others_stay():
    assert eliminate_overlaps(ring_with([]))[0].areas.tolist() == [20]
    assert eliminate_overlaps(ring_with([]), fill_holes=True)[0].areas.tolist() == [36]
    nested = ring_with([(3, 3), (3, 4)])
    assert eliminate_overlaps(nested, fill_holes=True)[0].areas.tolist() == [20, 2]
    # the speck goes first, and the hole it lay in is empty then
    left, _ = eliminate_overlaps(nested, fill_holes=True, min_area=3)
    assert left.areas.tolist() == [36]


def test_a_bay_at_the_image_border_is_no_hole():
    dense = np.array([[[1, 0, 1], [1, 1, 1]]], dtype=bool)
    left, _ = eliminate_overlaps(CroppedMasks.from_dense(dense), fill_holes=True)
    assert left.areas.tolist() == [5]


def test_memory_grows_with_the_image_not_with_the_number_of_masks():
    rng = np.random.default_rng(0)
    offsets = rng.integers(0, 1000, (400, 2))
    crops = [np.ones((24, 24), dtype=bool)] * 400
    masks = CroppedMasks(offsets, crops, (1024, 1024))
    tracemalloc.start()
    left, _ = eliminate_overlaps(masks, keep_largest_piece=True, fill_holes=True, min_area=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(left) > 300
    # dense masks would be 400 MiB; the label map is 4 MiB
    assert peak < 40 * 2**20


def test_the_largest_piece_of_each_mask_is_left():
    labels = np.zeros((6, 12), int)
    labels[0:2, 0:2] = labels[3:5, 2:5] = labels[0, 10] = 1
    labels[0:2, 4:6] = labels[2, 6] = 2  # touching at a corner: one piece
    left = keep_largest_pieces(CroppedMasks.from_label_map(labels)).to_label_map()
    expected = np.where(labels == 2, 2, 0)
    expected[3:5, 2:5] = 1
    np.testing.assert_array_equal(left, expected)
