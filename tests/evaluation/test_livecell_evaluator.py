import math

import numpy as np
import pytest

from nucdet.config import load_config
from nucdet.evaluation import build, coco, livecell
from nucdet.evaluation.livecell import LIVECellEvaluator
from nucdet.structures import CroppedMasks

PERCENTS = range(50, 100, 5)


def evaluate(evaluator, inputs, outputs):
    evaluator.reset()
    for entry, output in zip(inputs, outputs, strict=True):
        evaluator.process([entry], [output])
    return evaluator.evaluate()


@pytest.fixture
def case(make_truth, spans, as_output, inputs):
    """Three images; a172: 2 cells, one found exactly, one with an IoU of 8/10; bv2: its cell
    missed; the third has no cells."""
    truth = [spans((0, 0, 10), (1, 0, 10)), spans((0, 0, 10)), spans()]
    make_truth(*truth, kinds=("a172", "bv2", "a172"))
    outputs = [
        as_output(spans((0, 0, 10), (1, 0, 8)), [0.9, 0.8]),
        as_output(spans((3, 0, 10)), [0.1]),
        as_output(spans()),
    ]
    return inputs(1, 2, 3), outputs


def test_afnr_is_the_mean_over_images_with_cells_and_thresholds(case):
    metrics = evaluate(LIVECellEvaluator("toy_val"), *case)["livecell"]
    # 8/10 is above 0.50 … 0.75: the first image misses nothing there, then half of its cells
    first = {p: 0.0 if p < 80 else 50.0 for p in PERCENTS}
    for percent in PERCENTS:
        assert metrics[f"FNR{percent}"] == pytest.approx((first[percent] + 100) / 2)
    assert metrics["AFNR-a172"] == pytest.approx(20)
    assert metrics["AFNR-bv2"] == pytest.approx(100)
    assert metrics["AFNR"] == pytest.approx((20 + 100) / 2)


def test_a_true_cell_without_a_pixel_is_not_missed(make_truth, spans, as_output, inputs):
    make_truth(spans((0, 0, 10), (1, 3, 3)))
    outputs = [as_output(spans((0, 0, 10)))]
    assert evaluate(LIVECellEvaluator("toy_val"), inputs(1), outputs)["livecell"]["AFNR"] == 0


def test_ap_by_threshold_and_cell_type(case):
    metrics = evaluate(LIVECellEvaluator("toy_val"), *case)["segm"]
    # the surest finds one of two a172 cells, the next the other up to 0.80 (COCO matches at >=):
    # precision 1 at all recalls, or up to 1/2 (51 of COCO's 101 recalls)
    a172 = [100.0 if p <= 80 else 100 * 51 / 101 for p in PERCENTS]
    assert metrics["AP-a172"] == pytest.approx(np.mean(a172))
    assert metrics["AP-bv2"] == 0
    # of all three cells: recalls up to 2/3 (67 of 101), or 1/3 (34)
    for percent in PERCENTS:
        assert metrics[f"AP{percent}"] == pytest.approx(100 * (67 if percent <= 80 else 34) / 101)
    assert metrics["AP"] == pytest.approx(np.mean([metrics[f"AP{p}"] for p in PERCENTS]))


def test_types_as_categories_give_ap_by_category(make_truth, spans, as_output, inputs):
    truth = spans((0, 0, 10), (1, 0, 10))
    make_truth(truth, kinds=("a172",), categories=("a172", "bv2"), classes=[[0, 1]])
    outputs = [as_output(truth, [0.9, 0.9], [0, 0])]
    metrics = evaluate(LIVECellEvaluator("toy_val"), inputs(1), outputs)
    assert metrics["segm"]["AP-a172"] > 99.9 and metrics["segm"]["AP-bv2"] == 0
    # the class does not count for AFNR
    assert metrics["livecell"]["AFNR"] == 0


@pytest.mark.parametrize("faster", [False, coco.faster_coco_eval is not None])
def test_sizes_are_livecells(make_truth, as_output, inputs, faster):
    areas = (319, 320, 970, 971)
    # one cell in each of four images; one at a time is found
    images = []
    for area in areas:
        mask = np.zeros(80 * 40, bool)
        mask[:area] = True
        images.append(CroppedMasks.from_dense(mask.reshape(1, 80, 40)))
    make_truth(*images)
    nothing = images[0][[]]
    evaluator = LIVECellEvaluator("toy_val", use_faster_engine=faster)
    for found, (small, medium, large) in {
        0: (100, 0, 0), 1: (0, 51, 0), 2: (0, 51, 0), 3: (0, 0, 100),
    }.items():  # fmt: skip
        outputs = [as_output(m if i == found else nothing) for i, m in enumerate(images)]
        metrics = evaluate(evaluator, inputs(1, 2, 3, 4), outputs)["segm"]
        expected = (small, 100 * medium / 101 if medium else 0, large)
        assert tuple(metrics[k] for k in ("APs", "APm", "APl")) == pytest.approx(expected)


def test_no_prediction_and_no_cell(make_truth, spans, as_output, inputs, caplog):
    caplog.set_level("INFO")
    make_truth(spans((0, 0, 10)), spans(), kinds=("a172", "bv2"))
    nothing = as_output(spans())
    metrics = evaluate(LIVECellEvaluator("toy_val"), inputs(1, 2), [nothing, nothing])
    assert metrics["livecell"]["AFNR"] == 100 and metrics["segm"]["AP"] == 0
    # there is nothing to find in images of this type
    rows = [line.split() for line in caplog.text.splitlines()]
    assert ["all", "2", "0.00", "0.00", "100.00"] in rows
    assert ["a172", "1", "0.00", "0.00", "100.00"] in rows and ["bv2", "1", "-", "-", "-"] in rows
    assert math.isnan(metrics["segm"]["AP-bv2"]) and "AFNR-bv2" not in metrics["livecell"]


def test_as_many_cells_count_as_published_or_as_the_network_may_find(
    make_truth, as_output, inputs, tmp_path, monkeypatch
):
    assert livecell.PUBLISHED_MAX_DETECTIONS == 2000
    monkeypatch.setattr(livecell, "PUBLISHED_MAX_DETECTIONS", 200)
    labels = np.arange(1, 211).repeat(3).reshape(-1, 30)
    cells = CroppedMasks.from_label_map(labels)
    make_truth(cells)
    overrides = ["TEST.EVALUATORS", "('livecell',)", "OUTPUT_DIR", str(tmp_path)]
    for limit, share in ((50, 200 / 210), (250, 1)):
        cfg = load_config(overrides=[*overrides, "TEST.DETECTIONS_PER_IMAGE", str(limit)])
        results = evaluate(build.build_evaluator(cfg, "toy_val"), inputs(1), [as_output(cells)])
        assert results["segm"]["AP50"] == pytest.approx(100 * share, abs=0.5)
    assert list(results) == ["bbox", "segm", "livecell"]
