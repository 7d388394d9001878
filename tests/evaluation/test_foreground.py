"""Pixel metrics on rows of pixels that are counted by eye."""

import logging

import pytest
from detectron2.evaluation import print_csv_format
from detectron2.utils import comm

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.evaluation.build import build_evaluator
from nucdet.evaluation.foreground import (
    ForegroundEvaluator,
    PixelCounts,
    count_pixels,
    summarize_pixels,
)


def test_unions_are_compared(spans):
    # 160 pixels; ground truth 0 … 9 and 20 … 29, predicted 5 … 14 by two masks that overlap
    truth = spans((0, 0, 10), (0, 20, 30))
    predicted = spans((0, 5, 12), (0, 8, 15))
    assert count_pixels(truth, predicted) == PixelCounts(tp=5, fp=5, fn=15, tn=135)
    assert count_pixels(predicted, truth) == PixelCounts(tp=5, fp=15, fn=5, tn=135)


def test_masks_of_another_size(spans):
    with pytest.raises(ValueError, match="masks of images of"):
        count_pixels(spans(), spans(size=(5, 40)))


def test_pooled_and_by_image():
    metrics = summarize_pixels([PixelCounts(5, 5, 15, 135), PixelCounts(30, 0, 10, 0)])
    assert metrics == pytest.approx(
        {
            "accuracy": 100 * 170 / 200,
            "precision": 100 * 35 / 40,
            "recall": 100 * 35 / 60,
            "IoU": 100 * 35 / 65,
            "Dice": 100 * 70 / 100,
            "accuracy-image": 100 * (140 / 160 + 30 / 40) / 2,
            "precision-image": 100 * (1 / 2 + 1) / 2,
            "recall-image": 100 * (1 / 4 + 3 / 4) / 2,
            "IoU-image": 100 * (1 / 5 + 3 / 4) / 2,
            "Dice-image": 100 * (1 / 3 + 6 / 7) / 2,
        }
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (PixelCounts(0, 0, 0, 50), 100),  # rightly nothing found
        (PixelCounts(0, 0, 10, 40), 0),  # nothing found
        (PixelCounts(0, 10, 0, 40), 0),  # nothing there
        (PixelCounts(50, 0, 0, 0), 100),  # all foreground
    ],
)
def test_empty_sides(counts, expected):
    metrics = summarize_pixels([counts])
    for name in ("precision", "recall", "IoU", "Dice"):
        assert metrics[name] == metrics[f"{name}-image"] == expected


@pytest.fixture
def evaluator(make_truth, spans):
    make_truth(spans((0, 0, 10), (1, 0, 10)), spans())
    evaluator = ForegroundEvaluator("toy_val")
    evaluator.reset()
    return evaluator


def test_evaluator(evaluator, spans, as_output, inputs):
    evaluator.process(inputs(1, 2), [as_output(spans((0, 0, 10))), as_output(spans())])
    results = evaluator.evaluate()
    assert list(results) == ["foreground"]
    assert results["foreground"]["recall"] == pytest.approx(50)
    assert results["foreground"]["IoU-image"] == pytest.approx(75)
    print_csv_format(results)  # wants flat scalars


def test_processes_are_gathered_and_an_image_counts_once(
    evaluator, spans, as_output, inputs, monkeypatch
):
    evaluator.process(inputs(1), [as_output(spans((0, 0, 10)))])
    other = ForegroundEvaluator("toy_val")
    other.process(inputs(1, 2), [as_output(spans((0, 0, 10))), as_output(spans((0, 0, 10)))])
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, other._counts])
    assert evaluator.evaluate()["foreground"]["IoU"] == pytest.approx(100 * 10 / 30)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() is None


def test_no_image(evaluator, spans, as_output, inputs, caplog):
    evaluator.process(inputs(1), [as_output(spans())])
    evaluator.reset()
    with caplog.at_level(logging.WARNING):
        assert evaluator.evaluate() == {}
    assert "no image was processed" in caplog.text


def test_unknown_image(evaluator, spans, as_output, inputs):
    with pytest.raises(InputError, match="there is no image with id 7"):
        evaluator.process(inputs(7), [as_output(spans())])


def test_by_name_after_overlap_elimination(make_truth, spans, as_output, inputs, tmp_path):
    make_truth(spans((0, 0, 10)))
    settings = {
        "OUTPUT_DIR": str(tmp_path),
        "TEST.EVALUATORS": "('foreground', 'kaggle')",
        "TEST.OVERLAP_ELIMINATION.MIN_AREA": "5",
    }
    cfg = load_config(overrides=[text for pair in settings.items() for text in pair])
    evaluator = build_evaluator(cfg, "toy_val")
    evaluator.reset()
    evaluator.process(inputs(1), [as_output(spans((0, 0, 10), (1, 0, 4)))])
    assert evaluator.evaluate()["foreground"]["precision"] == 100
