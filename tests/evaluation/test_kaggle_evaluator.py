import csv
import logging

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.utils import comm

from nucdet.errors import InputError
from nucdet.evaluation.kaggle import KaggleEvaluator


@pytest.fixture
def evaluator(make_truth, spans, tmp_path):
    make_truth(spans((0, 0, 9), (1, 0, 9)), spans(), kinds=("grey", "purple"))
    evaluator = KaggleEvaluator("toy_val", str(tmp_path / "out"))
    evaluator.reset()
    return evaluator


def test_score_and_file(evaluator, spans, as_output, inputs, tmp_path):
    evaluator.process(inputs(1, 2), [as_output(spans((0, 0, 9))), as_output(spans())])
    results = evaluator.evaluate()
    assert list(results) == ["kaggle"]
    assert results["kaggle"]["mAP"] == pytest.approx(75)
    assert results["kaggle"]["mAP-grey"] == pytest.approx(50)
    with (tmp_path / "out" / "kaggle_per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["score"]) for row in rows] == [
        ("img1", "50.0000"),
        ("img2", "100.0000"),
    ]
    print_csv_format(results)  # wants flat scalars


def test_dense_masks_of_a_stock_model(evaluator, spans, as_output, inputs):
    output = as_output(spans((0, 0, 9), (1, 0, 9)))
    dense = torch.from_numpy(output["instances"].pred_masks.to_dense())
    output["instances"].pred_masks = dense
    evaluator.process(inputs(1), [output])
    assert evaluator.evaluate()["kaggle"]["mAP"] == 100


def test_an_image_seen_twice_counts_once(evaluator, spans, as_output, inputs):
    evaluator.process(inputs(1, 2, 1), [as_output(spans((0, 0, 9)))] * 3)
    # image 1: 1/2, image 2: a false mask
    assert evaluator.evaluate()["kaggle"]["mAP"] == pytest.approx(25)


def test_images_that_were_not_processed_do_not_count(evaluator, spans, as_output, inputs, caplog):
    evaluator.process(inputs(1), [as_output(spans((0, 0, 9)))])
    with caplog.at_level(logging.WARNING):
        assert evaluator.evaluate()["kaggle"]["mAP"] == pytest.approx(50)
    assert "1 of the 2 images" in caplog.text


def test_reset_forgets(evaluator, spans, as_output, inputs):
    evaluator.process(inputs(1), [as_output(spans((0, 0, 9)))])
    evaluator.reset()
    assert evaluator.evaluate() == {}


def test_processes_are_gathered(evaluator, spans, as_output, inputs, monkeypatch):
    evaluator.process(inputs(2), [as_output(spans())])
    other = KaggleEvaluator("toy_val")
    other.process(inputs(1, 2), [as_output(spans((0, 0, 9))), as_output(spans())])
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, other._results])
    assert evaluator.evaluate()["kaggle"]["mAP"] == pytest.approx(75)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() is None


def test_unknown_image(evaluator, spans, as_output, inputs):
    with pytest.raises(InputError, match=r"instances_val.json: there is no image with id 7"):
        evaluator.process(inputs(7), [as_output(spans())])


def test_data_set_without_json():
    with pytest.raises(InputError, match="'bare_val' has no json_file"):
        KaggleEvaluator("bare_val")
    MetadataCatalog.remove("bare_val")
