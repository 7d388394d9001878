import json
import math

import numpy as np
import pytest
from detectron2.evaluation import COCOEvaluator

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.evaluation import build, coco
from nucdet.evaluation.coco import DenseCOCOEvaluator
from nucdet.structures import CroppedMasks

ENGINES = [
    False,
    pytest.param(
        True,
        marks=pytest.mark.skipif(
            coco.faster_coco_eval is None, reason="needs the extra fast-eval (faster-coco-eval)"
        ),
    ),
]


def grid(rng, count, size=120, cell=8):
    """Angles of random size, one in each of ``count`` cells of a grid."""
    per_row = size // cell
    dense = np.zeros((count, size, size), bool)
    for i, mask in enumerate(dense):
        y, x = i // per_row * cell, i % per_row * cell
        mask[y : y + rng.integers(4, cell + 1), x : x + rng.integers(4, cell + 1)] = True
        mask[y : y + 2, x : x + rng.integers(1, 4)] = False
    return CroppedMasks.from_dense(dense)


def evaluate(evaluator, ids, outputs):
    evaluator.reset()
    for entry, output in zip(ids, outputs, strict=True):
        evaluator.process([entry], [output])
    return evaluator.evaluate()


@pytest.fixture
def dense_images(make_truth, as_output, inputs):
    """Two images with 150 and 40 nuclei of two classes, and uncertain predictions of them."""
    rng = np.random.default_rng(0)
    counts = (150, 40)
    classes = [rng.integers(0, 2, n).tolist() for n in counts]
    path = make_truth(
        *(grid(rng, n) for n in counts), categories=("round", "long"), classes=classes
    )
    outputs = [
        as_output(grid(rng, n), rng.permutation(n) / n, rng.permutation(c).tolist())
        for n, c in zip(counts, classes, strict=True)
    ]
    return path, inputs(1, 2), outputs


@pytest.mark.parametrize("faster", ENGINES)
@pytest.mark.parametrize("limit", [100, 200])
def test_same_numbers_as_detectron2_with_pycocotools(dense_images, faster, limit, tmp_path):
    _, ids, outputs = dense_images
    theirs = COCOEvaluator(
        "toy_val", ("bbox", "segm"), False, max_dets_per_image=limit, use_fast_impl=False
    )
    # Detectron2's own wants to be told how category ids are numbered
    theirs._metadata.set(thing_dataset_id_to_contiguous_id={1: 0, 2: 1})
    expected = evaluate(theirs, ids, outputs)
    ours = DenseCOCOEvaluator("toy_val", max_dets_per_image=limit, use_faster_engine=faster)
    results = evaluate(ours, ids, outputs)
    assert list(results) == ["bbox", "segm"]
    for task in results:
        assert results[task] == pytest.approx(expected[task], abs=1e-9, nan_ok=True)
    assert 0 < results["segm"]["AP"] < 100
    assert {"AP-round", "AP-long"} <= set(results["segm"])


@pytest.mark.parametrize("faster", ENGINES)
@pytest.mark.parametrize(("limit", "expected"), [(150, 100), (75, 50)])
def test_all_detections_count(make_truth, as_output, inputs, faster, limit, expected, caplog):
    masks = grid(np.random.default_rng(1), 150)
    make_truth(masks)
    evaluator = DenseCOCOEvaluator("toy_val", max_dets_per_image=limit, use_faster_engine=faster)
    scores = np.linspace(1, 0.5, 150)
    results = evaluate(evaluator, inputs(1), [as_output(masks, scores)])
    # COCO samples precision at 101 recalls, so half of the nuclei give 51/101
    assert results["segm"]["AP"] == pytest.approx(expected, abs=0.6)
    assert ("1 images have more than 75 predictions, up to 150" in caplog.text) == (limit == 75)
    assert ("COCO AP counts only" in caplog.text) == (limit == 75)


@pytest.mark.parametrize("name", ["coco", "livecell"])
def test_a_model_of_one_class_is_scored_as_if_the_data_had_one(
    make_truth, as_output, inputs, repository, tmp_path, name
):
    masks = grid(np.random.default_rng(1), 40)
    make_truth(masks, categories=("round", "long"), classes=[[1, 0] * 20])
    cfg = load_config(repository / "configs/Base-Semantic.yaml")
    evaluator = build.EVALUATORS[name](cfg, "toy_val", str(tmp_path))
    results = evaluate(evaluator, inputs(1), [as_output(masks[:20])])
    assert results["segm"]["AP"] == pytest.approx(50, abs=1)
    assert "AP-round" not in results["segm"]


@pytest.mark.parametrize("faster", ENGINES)
def test_no_predictions_is_zero(make_truth, spans, as_output, inputs, faster):
    make_truth(spans((0, 0, 9)), spans())
    evaluator = DenseCOCOEvaluator("toy_val", max_dets_per_image=100, use_faster_engine=faster)
    results = evaluate(evaluator, inputs(1, 2), [as_output(spans())] * 2)
    assert results["segm"]["AP"] == results["bbox"]["AP50"] == 0
    assert math.isnan(results["segm"]["APl"])  # there is nothing large to find


@pytest.mark.parametrize("faster", ENGINES)
def test_images_without_truth(make_truth, spans, as_output, inputs, faster):
    make_truth(spans((0, 0, 9)), spans())
    evaluator = DenseCOCOEvaluator("toy_val", max_dets_per_image=100, use_faster_engine=faster)
    false_mask = as_output(spans((1, 0, 9)), [0.9])
    found = as_output(spans((0, 0, 9)), [0.5])
    results = evaluate(evaluator, inputs(1, 2), [found, false_mask])
    # the surer mask is false, so precision is 1/2 at every recall
    assert results["segm"]["AP"] == pytest.approx(50)


@pytest.mark.parametrize("faster", ENGINES)
def test_no_truth_at_all(make_truth, spans, as_output, inputs, faster):
    make_truth(spans())
    evaluator = DenseCOCOEvaluator("toy_val", max_dets_per_image=100, use_faster_engine=faster)
    results = evaluate(evaluator, inputs(1), [as_output(spans((1, 0, 9)))])
    assert math.isnan(results["segm"]["AP"])


def test_results_file(dense_images, tmp_path):
    _, ids, outputs = dense_images
    evaluator = DenseCOCOEvaluator("toy_val", str(tmp_path / "out"), max_dets_per_image=200)
    evaluate(evaluator, ids[::-1], outputs[::-1])
    results = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert len(results) == 190
    assert [r["image_id"] for r in results] == [1] * 150 + [2] * 40
    assert {r["category_id"] for r in results} == {1, 2}
    masks = CroppedMasks.from_coco_rle([r["segmentation"] for r in results[:150]], (120, 120))
    assert np.array_equal(masks.to_dense(), outputs[0]["instances"].pred_masks.to_dense())
    x0, y0, x1, y1 = masks.boxes[7].tolist()
    assert results[7]["bbox"] == [x0, y0, x1 - x0, y1 - y0]


def test_class_that_the_data_set_does_not_have(make_truth, spans, as_output, inputs):
    make_truth(spans((0, 0, 9)))
    evaluator = DenseCOCOEvaluator("toy_val", max_dets_per_image=100)
    evaluator.reset()
    with pytest.raises(InputError, match="class 2, but there are 1 categories"):
        evaluator.process(inputs(1), [as_output(spans((0, 0, 9)), classes=[2])])
