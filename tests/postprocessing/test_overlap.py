"""Overlap elimination: properties on random masks, and each rule on masks with known answers."""

import tracemalloc

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.postprocessing import OverlapElimination, eliminate_overlaps
from nucdet.postprocessing.rules import OverlapSettings
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


def rows(*spans: tuple[int, int], width: int = 12) -> CroppedMasks:
    """Masks in an image of one row, each from the first to before the second number."""
    dense = np.zeros((len(spans), 1, width), dtype=bool)
    for mask, (start, end) in zip(dense, spans, strict=True):
        mask[0, start:end] = True
    return CroppedMasks.from_dense(dense)


def spans_of(masks: CroppedMasks) -> list[tuple[int, int]]:
    return [(int(x0), int(x1)) for x0, _, x1, _ in masks.boxes]


def test_area_keeps_the_largest_whole_and_score_the_surest():
    masks = rows((0, 4), (2, 8))
    assert spans_of(eliminate_overlaps(masks)[0]) == [(0, 2), (2, 8)]
    by_score, _ = eliminate_overlaps(masks, np.array([0.9, 0.8]), "score")
    assert spans_of(by_score) == [(0, 4), (4, 8)]


def test_the_lower_index_wins_a_tie():
    masks = rows((0, 4), (2, 6))
    assert spans_of(eliminate_overlaps(masks)[0]) == [(0, 4), (4, 6)]
    assert spans_of(eliminate_overlaps(masks[[1, 0]])[0]) == [(2, 6), (0, 2)]


def test_small_and_covered_masks_are_dropped():
    masks = rows((0, 6), (1, 3), (5, 8), (9, 9))
    left, kept = eliminate_overlaps(masks)
    assert kept.tolist() == [0, 2] and spans_of(left) == [(0, 6), (6, 8)]
    assert eliminate_overlaps(masks, min_area=3)[1].tolist() == [0]


def test_what_is_too_small_takes_no_pixel_from_others():
    left, kept = eliminate_overlaps(rows((0, 6), (2, 3)), np.array([0.5, 0.9]), "score", min_area=2)
    assert kept.tolist() == [0] and left.areas.tolist() == [6]


def test_relative_area_is_a_share_of_the_mean():
    """Areas 6, 4, 1: the mean is 11/3, its quarter 0.9, its third 1.2."""
    masks = rows((0, 6), (6, 10), (11, 12))
    assert eliminate_overlaps(masks, min_relative_area=1 / 4)[1].tolist() == [0, 1, 2]
    assert eliminate_overlaps(masks, min_relative_area=1 / 3)[1].tolist() == [0, 1]


def test_only_the_largest_piece_of_what_was_cut_apart_stays():
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


def settings_of(enabled: bool = True, **changes) -> OverlapElimination:
    return OverlapElimination(enabled=enabled, settings=OverlapSettings(**changes))


def predictions(as_dense: bool) -> Instances:
    masks = rows((0, 4), (2, 8), (3, 4))
    dense = torch.from_numpy(masks.to_dense())
    instances = Instances(masks.image_size, pred_masks=dense if as_dense else masks)
    instances.scores = torch.tensor([0.9, 0.8, 0.7])
    instances.pred_boxes = Boxes(torch.full((3, 4), 5.0))
    instances.pred_classes = torch.tensor([0, 1, 2])
    return instances


@pytest.mark.parametrize("as_dense", [False, True])
def test_predictions_come_out_without_overlaps(as_dense):
    before = predictions(as_dense)
    after = settings_of()(before)
    assert isinstance(after.pred_masks, CroppedMasks)
    assert spans_of(after.pred_masks) == [(0, 2), (2, 8)]
    assert after.pred_boxes.tensor.tolist() == [[0, 0, 2, 1], [2, 0, 8, 1]]
    assert after.pred_classes.tolist() == [0, 1]
    assert after.scores.tolist() == pytest.approx([0.9, 0.8])
    assert len(before) == 3 and before.pred_boxes.tensor.unique().tolist() == [5]


@pytest.mark.parametrize("as_dense", [False, True])
def test_disabled_it_only_crops(as_dense):
    after = settings_of(enabled=False)(predictions(as_dense))
    assert isinstance(after.pred_masks, CroppedMasks)
    assert spans_of(after.pred_masks) == [(0, 4), (2, 8), (3, 4)]
    assert after.pred_boxes.tensor.unique().tolist() == [5]


@pytest.mark.parametrize("priority", ["area", "score"])
def test_no_predictions(priority):
    after = settings_of(priority=priority, fill_holes=True, min_relative_area=0.1)(
        predictions(as_dense=True)[[]]
    )
    assert len(after) == 0 and after.pred_boxes.tensor.shape == (0, 4)


def test_built_from_the_config():
    cfg = load_config()
    cfg.TEST.OVERLAP_ELIMINATION.update(
        ENABLED=True,
        PRIORITY="score",
        MIN_AREA=3,
        MIN_AREA_LIMIT=0.25,
        KEEP_LARGEST_PIECE=True,
        FILL_HOLES=True,
        MIN_RELATIVE_AREA=0.15,
        MIN_RELATIVE_SCORE=0.5,
    )
    step = OverlapElimination(cfg)
    assert spans_of(step(predictions(as_dense=False)).pred_masks) == [(0, 4), (4, 8)]
    cfg.TEST.OVERLAP_ELIMINATION.PRIORITY = "size"
    with pytest.raises(InputError, match=r"TEST\.OVERLAP_ELIMINATION\.PRIORITY is 'size'"):
        OverlapElimination(cfg)


def test_outlines_move_after_the_cut():
    # (0, 4) and (4, 8) of a row of 10 pixels touch; only the second has background beside it
    grown = settings_of(priority="score", outline_offset=1.0)(predictions(as_dense=False))
    assert spans_of(grown.pred_masks) == [(0, 4), (4, 9)]
    assert grown.pred_boxes.tensor.tolist() == [[0, 0, 4, 1], [4, 0, 9, 1]]
    shrunk = settings_of(priority="score", outline_offset=-1.0)(predictions(as_dense=False))
    assert spans_of(shrunk.pred_masks) == [(0, 3), (5, 7)]
    raw = settings_of(enabled=False, outline_offset=1.0)(predictions(as_dense=False))
    assert raw.pred_masks.areas.tolist() == predictions(as_dense=False).pred_masks.areas.tolist()
    cfg = load_config(overrides=["TEST.OUTLINE_OFFSET", "1.0"])
    assert OverlapElimination(cfg).settings.outline_offset == 1
    with pytest.raises(InputError, match=r"TEST\.OUTLINE_OFFSET is nan"):
        settings_of(outline_offset=float("nan"))


def test_classes_have_scores_and_areas_of_their_own():
    # classes 0, 1, 2 with scores 0.9, 0.8, 0.7 and areas 4, 6, 1
    def left(**changes):
        return spans_of(settings_of(**changes)(predictions(as_dense=True)).pred_masks)

    # what is not wanted takes no pixel from another
    assert left(class_score_thresholds=(0.5, 0.85, 0.5)) == [(0, 4)]
    assert left(class_score_thresholds=(0.95, 0.5, 0.5)) == [(2, 8)]
    assert left(class_min_areas=(4, 7, 2)) == [(0, 4)]
    with pytest.raises(InputError, match=r"CLASS_MIN_AREAS has 2 numbers.*of class 2"):
        left(class_min_areas=(4, 7))


def test_tiny_nuclei_are_no_debris_among_their_like():
    def left(*sizes, **changes):
        dense = np.zeros((len(sizes), 8, 60), bool)
        for number, size in enumerate(sizes):
            dense[number, number, :size] = True
        found = Instances((8, 60), pred_masks=CroppedMasks.from_dense(dense))
        return settings_of(min_area=20, **changes)(found).pred_masks.areas.tolist()

    assert left(12, 12, 16, 2) == []
    assert left(12, 12, 16, 2, min_area_limit=0.25) == [12, 12, 16]
    assert left(60, 60, 12, 60, min_area_limit=0.25) == [60, 60, 60]
    assert left(60, 60, 20, 60, min_area_limit=0.5) == [60, 60, 20, 60]
    assert left(min_area_limit=0.25) == []


def test_masks_that_are_less_sure_than_the_others():
    # areas 2, 3, 4, 6, the median 3.5; scores with a median of 0.7
    masks = rows((0, 2), (3, 6), (20, 24), (30, 36), width=40)
    scores = torch.tensor([0.5, 0.9, 0.9, 0.5], dtype=torch.float64)
    found = Instances((1, 40), pred_masks=masks, scores=scores)
    found.pred_classes = torch.tensor([0, 1, 1, 1])

    def left(share, **changes):
        return spans_of(settings_of(min_relative_score=share, **changes)(found).pred_masks)

    assert left(0.0) == left(0.5 / 0.7) == [(0, 2), (3, 6), (20, 24), (30, 36)]
    # the last is as unsure as the first, but large
    assert left(0.8) == [(3, 6), (20, 24), (30, 36)]
    assert left(2.0) == [(20, 24), (30, 36)]
    # medians of those that pass the other rules: 0.9 and 4
    assert left(1.01, class_score_thresholds=(0.5, 0.1)) == [(20, 24), (30, 36)]
    nothing = settings_of(min_relative_score=0.9)(predictions(as_dense=True)[[]])
    assert len(nothing) == 0
    with pytest.raises(InputError, match=r"MIN_RELATIVE_SCORE: the masks have no scores"):
        settings_of(min_relative_score=0.9)(Instances((1, 12), pred_masks=rows((0, 4))))


def test_class_thresholds_from_the_config():
    cfg = load_config(
        overrides=["TEST.OVERLAP_ELIMINATION.CLASS_SCORE_THRESHOLDS", "(0.95, 0.5, 0.5)"]
    )
    assert spans_of(OverlapElimination(cfg)(predictions(as_dense=False)).pred_masks) == [(2, 8)]


def test_what_is_missing_is_named():
    bare = Instances((1, 12), pred_masks=rows((0, 4)))
    with pytest.raises(InputError, match="have no scores"):
        settings_of(priority="score")(bare)
    with pytest.raises(InputError, match="no pred_masks"):
        settings_of()(Instances((1, 12), scores=torch.ones(1)))
    with pytest.raises(ValueError, match="2 scores for 1 masks"):
        eliminate_overlaps(bare.pred_masks, np.ones(2), "score")
