"""OverlapElimination on Detectron2's predictions: each setting, and those of a config."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.postprocessing import OverlapElimination, eliminate_overlaps
from nucdet.postprocessing.rules import OverlapSettings
from nucdet.structures import CroppedMasks


def settings_of(enabled: bool = True, **changes) -> OverlapElimination:
    return OverlapElimination(enabled=enabled, settings=OverlapSettings(**changes))


@pytest.fixture
def predictions(rows):
    """A function that makes three predictions, the masks dense or cropped."""

    def make(as_dense: bool) -> Instances:
        masks = rows((0, 4), (2, 8), (3, 4))
        dense = torch.from_numpy(masks.to_dense())
        instances = Instances(masks.image_size, pred_masks=dense if as_dense else masks)
        instances.scores = torch.tensor([0.9, 0.8, 0.7])
        instances.pred_boxes = Boxes(torch.full((3, 4), 5.0))
        instances.pred_classes = torch.tensor([0, 1, 2])
        return instances

    return make


@pytest.mark.parametrize("as_dense", [False, True])
def test_predictions_come_out_without_overlaps(as_dense, spans_of, predictions):
    before = predictions(as_dense)
    after = settings_of()(before)
    assert isinstance(after.pred_masks, CroppedMasks)
    assert spans_of(after.pred_masks) == [(0, 2), (2, 8)]
    assert after.pred_boxes.tensor.tolist() == [[0, 0, 2, 1], [2, 0, 8, 1]]
    assert after.pred_classes.tolist() == [0, 1]
    assert after.scores.tolist() == pytest.approx([0.9, 0.8])
    assert len(before) == 3 and before.pred_boxes.tensor.unique().tolist() == [5]


@pytest.mark.parametrize("as_dense", [False, True])
def test_disabled_it_only_crops(as_dense, spans_of, predictions):
    after = settings_of(enabled=False)(predictions(as_dense))
    assert isinstance(after.pred_masks, CroppedMasks)
    assert spans_of(after.pred_masks) == [(0, 4), (2, 8), (3, 4)]
    assert after.pred_boxes.tensor.unique().tolist() == [5]


@pytest.mark.parametrize("priority", ["area", "score"])
def test_no_predictions(priority, predictions):
    after = settings_of(priority=priority, fill_holes=True, min_relative_area=0.1)(
        predictions(as_dense=True)[[]]
    )
    assert len(after) == 0 and after.pred_boxes.tensor.shape == (0, 4)


def test_built_from_the_config(spans_of, predictions):
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


def test_outlines_move_after_the_cut(spans_of, predictions):
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
    for offset in (float("nan"), 0.5, -0.9, 1001.0):  # less than 1 would change nothing
        with pytest.raises(InputError, match=rf"TEST\.OUTLINE_OFFSET is {offset}; expected"):
            settings_of(outline_offset=offset)


def test_classes_have_scores_and_areas_of_their_own(spans_of, predictions):
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


def test_masks_that_are_less_sure_than_the_others(rows, spans_of, predictions):
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


def test_class_thresholds_from_the_config(spans_of, predictions):
    cfg = load_config(
        overrides=["TEST.OVERLAP_ELIMINATION.CLASS_SCORE_THRESHOLDS", "(0.95, 0.5, 0.5)"]
    )
    assert spans_of(OverlapElimination(cfg)(predictions(as_dense=False)).pred_masks) == [(2, 8)]


def test_what_is_missing_is_named(rows):
    bare = Instances((1, 12), pred_masks=rows((0, 4)))
    with pytest.raises(InputError, match="have no scores"):
        settings_of(priority="score")(bare)
    with pytest.raises(InputError, match="no pred_masks"):
        settings_of()(Instances((1, 12), scores=torch.ones(1)))
    with pytest.raises(ValueError, match="2 scores for 1 masks"):
        eliminate_overlaps(bare.pred_masks, np.ones(2), "score")
