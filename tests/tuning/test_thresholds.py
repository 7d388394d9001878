"""Tuning: the table of atoms gives what the masks themselves give; the best point is found."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.evaluation.atoms import AtomCandidates, Atoms
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.matching import Intersections, match
from nucdet.evaluation.predictions_io import read_predictions
from nucdet.postprocessing import OverlapElimination
from nucdet.postprocessing.overlap import MaskCandidates
from nucdet.postprocessing.rules import OverlapSettings, apply_rules
from nucdet.structures import CroppedMasks
from nucdet.tuning.thresholds import CachedPredictions, Grid
from nucdet.tuning.tune import tune_thresholds

SMALL = Grid((0.0, 0.5), (0, 4), (0.0,), ("area", "score"), (0.0,))


@st.composite
def rectangles(draw, most=6):
    dense = np.zeros((draw(st.integers(0, most)), 8, 9), bool)
    for mask in dense:
        y, x = draw(st.integers(0, 7)), draw(st.integers(0, 8))
        mask[y : y + draw(st.integers(0, 7)), x : x + draw(st.integers(1, 8))] = True
    return CroppedMasks.from_dense(dense)


@settings(deadline=None, max_examples=150)
@given(
    rectangles(),
    rectangles(),
    st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=6, max_size=6).map(np.array),
    st.sampled_from(["area", "score"]),
    st.sampled_from([0.0, 0.3, 0.5]),
    st.integers(0, 9),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from([0.0, 0.8]),
)
def test_atoms_score_as_the_masks_do(true, pred, scores, priority, threshold, area, share, sure):
    classes = np.zeros(len(pred), np.int64)
    rules = OverlapSettings(
        priority=priority,
        min_area=area,
        min_relative_area=share,
        min_relative_score=sure,
        class_score_thresholds=(threshold,),
    )
    left = apply_rules(MaskCandidates.of_masks(pred, scores[: len(pred)], classes), rules)
    expected = match(Intersections.of_masks(true[true.areas > 0], left.masks)).score

    atoms = Atoms.of_masks(true, pred)
    found = apply_rules(AtomCandidates.of_atoms(atoms, scores[: len(pred)], classes), rules)
    assert found.numbers.tolist() == left.numbers.tolist()
    assert found.areas.tolist() == left.areas.tolist()
    assert found.score() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ({"keep_largest_piece": True}, "pieces"),
        ({"fill_holes": True}, "holes"),
        ({"outline_offset": 1.0}, "outlines"),
    ],
)
def test_atoms_refuse_what_needs_pixels(spans, rules, what):
    masks = spans((0, 0, 5))
    atoms = AtomCandidates.of_atoms(Atoms.of_masks(masks, masks), np.ones(1), np.zeros(1, int))
    with pytest.raises(ValueError, match=f"no {what}"):
        apply_rules(atoms, OverlapSettings(**rules))


@pytest.fixture
def write(tmp_path):
    """Write COCO results: for each image (masks, scores, category ids)."""

    def write(*images, name="results.json"):
        entries = [
            {"image_id": i, "category_id": c, "segmentation": rle, "score": s}
            for i, (masks, scores, categories) in enumerate(images, 1)
            for rle, s, c in zip(masks.to_coco_rle(), scores, categories, strict=True)
        ]
        path = tmp_path / name
        path.write_text(json.dumps(entries))
        return path

    return write


@pytest.fixture
def case(make_truth, spans, write):
    """A true mask, a sure speck on it, and an unsure larger one over it."""
    truth = make_truth(spans((0, 0, 10)))
    return truth, write((spans((0, 0, 10), (0, 8, 11), (0, 5, 20)), [0.9, 0.95, 0.3], [1, 1, 1]))


def test_best_point(case, tmp_path):
    best = tune_thresholds(case[0], [case[1]], tmp_path / "out", SMALL)
    assert best.score == 100
    assert (best.score_thresholds, best.min_areas, best.priority) == ((0.5,), (4,), "area")
    with (tmp_path / "out" / "thresholds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    scores = {(r["score_threshold"], r["min_area"], r["priority"]): float(r["mAP"]) for r in rows}
    # by area the speck loses its shared pixels: one found, one false
    assert scores["0.5", "0", "area"] == pytest.approx(50)
    # by score the speck takes 2 of 10: IoU 0.8, above 0.50 … 0.75
    assert scores["0.5", "0", "score"] == pytest.approx(30)
    assert scores["0", "0", "area"] == 0


def test_yaml_gives_the_score(case, tmp_path, as_output):
    tune_thresholds(case[0], [case[1]], tmp_path, SMALL)
    cfg = load_config(tmp_path / "best.yaml")
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.5
    truth = GroundTruth(case[0])
    [prediction] = read_predictions(case[1], truth)
    output = as_output(prediction.masks, prediction.scores)
    left = OverlapElimination(cfg)(output["instances"]).pred_masks
    assert match(Intersections.of_masks(truth.masks(1), left)).score == 1


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # the smaller mask is false, and has half of the median score, which is 0.6
        ("min_relative_score", {"0": 50, "0.3": 50, "0.6": 100, "2": 100}),
        # and two thirds of the mean area, which is 7.5
        ("min_relative_area", {"0": 50, "0.6": 50, "0.7": 100, "1": 100}),
    ],
)
def test_shares_of_the_median_score_and_of_the_mean_area(
    make_truth, spans, write, tmp_path, as_output, key, expected
):
    masks = spans((0, 0, 10), (0, 12, 17))
    case = make_truth(spans((0, 0, 10))), write((masks, [0.9, 0.3], [1, 1]))
    grid = Grid((0.0,), (4,), (0.0,), ("area",), (0.0,))
    grid = replace(grid, **{f"{key}s": [float(share) for share in expected]})
    best = tune_thresholds(case[0], [case[1]], tmp_path, grid)
    assert best.score == 100
    assert getattr(best, key) == min(float(k) for k, score in expected.items() if score == 100)
    with (tmp_path / "thresholds.csv").open() as file:
        scores = {r[key]: float(r["mAP"]) for r in csv.DictReader(file)}
    assert scores == expected
    truth = GroundTruth(case[0])
    [prediction] = read_predictions(case[1], truth)
    output = as_output(prediction.masks, prediction.scores)
    for share, score in scores.items():
        cfg = load_config(tmp_path / "best.yaml")
        cfg.TEST.OVERLAP_ELIMINATION[key.upper()] = float(share)
        left = OverlapElimination(cfg)(output["instances"]).pred_masks
        assert 100 * match(Intersections.of_masks(truth.masks(1), left)).score == score


def square(size, first):
    dense = np.zeros((1, 20, 20), bool)
    dense[0, first : first + size, first : first + size] = True
    return CroppedMasks.from_dense(dense)


@pytest.mark.parametrize(
    ("size", "offset", "bias"), [(4, 1.5, np.nan), (6, 0, 0), (8, -1, 2 / np.sqrt(np.pi))]
)
def test_outline_offset_of_the_annotator(
    make_truth, write, tmp_path, as_output, size, offset, bias
):
    # squares of 6 were drawn; 1.5 reaches the corners of the larger one, 1 does not (IoU 32/36)
    truth = make_truth(square(6, 5), square(6, 5))
    found = square(size, 5 - (size - 6) // 2)
    file = write((found, [0.9], [1]), (found, [0.9], [1]))
    tune_thresholds(truth, [file], tmp_path, SMALL)
    cfg = load_config(tmp_path / "best.yaml")
    assert offset == cfg.TEST.OUTLINE_OFFSET
    left = OverlapElimination(cfg)(as_output(found)["instances"]).pred_masks
    assert match(Intersections.of_masks(square(6, 5), left)).score == 1
    with (tmp_path / "outline_offsets.csv").open() as csv_file:
        rows = {float(r["outline_offset"]): r for r in csv.DictReader(csv_file)}
    assert len(rows) == 7
    assert float(rows[offset]["mAP"]) == 100
    assert float(rows[offset]["outline_bias"]) == 0
    # an IoU of 16/36 is no match, so there is nothing to measure
    assert float(rows[0]["outline_bias"]) == pytest.approx(bias, abs=1e-3, nan_ok=True)


def test_given_offsets_alone_are_tried(make_truth, write, tmp_path):
    truth, file = make_truth(square(6, 5)), write((square(4, 6), [0.9], [1]))
    tune_thresholds(truth, [file], tmp_path, SMALL, outline_offsets=[0.0, 1.0])
    assert load_config(tmp_path / "best.yaml").TEST.OUTLINE_OFFSET == 1


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"score_thresholds": (0.5, float("nan"))}, "CLASS_SCORE_THRESHOLDS"),
        ({"score_thresholds": (2.0, -1.0)}, "CLASS_SCORE_THRESHOLDS"),
        ({"min_areas": (-5,)}, "CLASS_MIN_AREAS"),
        ({"min_relative_areas": (float("nan"),)}, "MIN_RELATIVE_AREA"),
        ({"min_relative_scores": (-1.0,)}, "MIN_RELATIVE_SCORE"),
    ],
)
def test_values_that_no_config_may_have_are_not_tried(values, key):
    with pytest.raises(InputError, match=f"{key} is .*; expected"):
        Grid(**values)


@pytest.mark.parametrize(
    "values", [{"outline_offsets": [0.0, float("inf")]}, {"mask_thresholds": [float("nan")]}]
)
def test_bad_offsets_and_mask_thresholds_leave_no_file(case, tmp_path, values):
    with pytest.raises(InputError, match=r"(OUTLINE_OFFSET|MASK_THRESH) is .*; expected"):
        tune_thresholds(case[0], [case[1]], tmp_path / "out", SMALL, **values)
    assert not (tmp_path / "out").exists()


def test_yaml_builds_on_a_config(case, tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text("SOLVER:\n  MAX_ITER: 7\n")
    tune_thresholds(case[0], [case[1]], tmp_path / "a" / "b", SMALL, config_file=base)
    assert yaml.safe_load((tmp_path / "a/b/best.yaml").read_text())["_BASE_"] == "../../base.yaml"
    assert load_config(tmp_path / "a/b/best.yaml").SOLVER.MAX_ITER == 7


def test_mask_threshold_of_the_best_file(case, spans, write, tmp_path):
    worse = write((spans((0, 0, 6)), [0.9], [1]), name="low.json")
    files, told = [worse, case[1]], [0.3, 0.6]
    best = tune_thresholds(case[0], files, tmp_path, SMALL, mask_thresholds=told)
    assert best.mask_threshold == 0.6
    assert load_config(tmp_path / "best.yaml").MODEL.ROI_MASK_HEAD.MASK_THRESH == 0.6
    for wrong in (None, [0.5]):
        with pytest.raises(InputError, match="2 files of predictions"):
            tune_thresholds(case[0], files, tmp_path, SMALL, mask_thresholds=wrong)


@pytest.fixture
def two_classes(make_truth, spans, write):
    """Unsure ones are right in class a, wrong in class b; small ones the other way round."""
    truth = make_truth(
        spans((0, 0, 10)), spans((0, 0, 3)), categories=("a", "b"), classes=[[0], [1]]
    )
    predictions = write(
        (spans((0, 0, 10), (2, 0, 3)), [0.3, 0.9], [1, 1]),
        (spans((0, 0, 3), (2, 0, 10)), [0.9, 0.3], [2, 2]),
    )
    return truth, predictions


def test_classes_get_values_of_their_own(two_classes, tmp_path, as_output):
    best = tune_thresholds(two_classes[0], [two_classes[1]], tmp_path, SMALL)
    assert best.score == 100
    assert (best.score_thresholds, best.min_areas) == ((0.0, 0.5), (4, 0))
    overlap = load_config(tmp_path / "best.yaml").TEST.OVERLAP_ELIMINATION
    assert overlap.CLASS_SCORE_THRESHOLDS == (0.0, 0.5)
    assert overlap.CLASS_MIN_AREAS == (4, 0)
    assert overlap.MIN_AREA == 0
    common = CachedPredictions(GroundTruth(two_classes[0]), two_classes[1]).score_grid(SMALL)
    assert max(point.score for point in common) < 100


def test_one_value_for_all_classes_is_written_for_each(two_classes, tmp_path):
    grid = Grid((0.2,), (0,), (0.0,), ("area",))
    tune_thresholds(two_classes[0], [two_classes[1]], tmp_path, grid)
    overlap = load_config(tmp_path / "best.yaml").TEST.OVERLAP_ELIMINATION
    assert overlap.CLASS_SCORE_THRESHOLDS == (0.2, 0.2)


def test_what_predictions_cannot_tell_is_left_out(make_truth, spans, tmp_path, write, capsys):
    truth = make_truth(spans((0, 0, 10)))
    csv_file = tmp_path / "submission.csv"
    csv_file.write_text("ImageId,EncodedPixels\nimg1,1 1 5 1\n")
    tune_thresholds(truth, [csv_file], tmp_path, SMALL)
    assert "no scores in it" in capsys.readouterr().out
    assert "MODEL" not in yaml.safe_load((tmp_path / "best.yaml").read_text())

    apart = write((spans((0, 0, 10), (1, 0, 5)), [0.9, 0.6], [1, 1]))
    best = tune_thresholds(truth, [apart], tmp_path, SMALL)
    assert best.priority == "area"
    out = capsys.readouterr().out
    assert "no two masks overlap" in out
    assert "the lowest score is 0.60" in out


def test_masks_below_the_lowest_score_are_not_let_in(make_truth, spans, write, tmp_path):
    """They were not predicted, so nobody knows whether they are right."""
    truth = make_truth(spans((0, 0, 10), (1, 0, 5)))
    file = write((spans((0, 0, 10), (1, 0, 5)), [0.9, 0.6], [1, 1]))
    best = tune_thresholds(truth, [file], tmp_path, Grid(score_thresholds=(0.0, 0.5, 0.6, 0.7)))
    assert (best.score, best.score_thresholds) == (100, (0.5,))
    assert load_config(tmp_path / "best.yaml").MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.5


def test_no_predictions_at_all(make_truth, spans, write, tmp_path):
    truth = make_truth(spans((0, 0, 10)), spans())
    assert tune_thresholds(truth, [write()], tmp_path, SMALL).score == 50


def test_unknown_category(case, spans, write, tmp_path):
    odd = write((spans((0, 0, 10)), [0.9], [7]))
    with pytest.raises(
        InputError, match=r"category_id 7 in predictions of image images/img1.png; expected"
    ):
        tune_thresholds(case[0], [odd], tmp_path, SMALL)
    assert not (tmp_path / "best.yaml").exists()
