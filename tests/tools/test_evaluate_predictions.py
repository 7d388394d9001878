import json
from functools import partial

import numpy as np
import pytest
import tifffile


@pytest.fixture
def run(run_tool):
    return partial(run_tool, "evaluate_predictions.py")


@pytest.fixture
def files(tmp_path):
    """Two 2×10 images with a nucleus of 10 pixels each, 8 of them predicted in the first."""
    images = [
        {"id": i, "file_name": f"{name}.png", "height": 2, "width": 10, "kind": "grey"}
        for i, name in enumerate("ab", 1)
    ]
    segmentation = [[0, 0, 10, 0, 10, 1, 0, 1]]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": segmentation} for i in (1, 2)
    ]
    truth = tmp_path / "instances_val.json"
    truth.write_text(json.dumps({"images": images, "annotations": annotations}))
    labels = np.zeros((2, 10), np.uint16)
    labels[0, :8] = 300
    (tmp_path / "labels").mkdir()
    tifffile.imwrite(tmp_path / "labels" / "a.tif", labels)
    return truth, tmp_path / "labels"


def test_scores_label_images(run, files, tmp_path):
    truth, labels = files
    outputs = ("--per-image", tmp_path / "rows.csv", "--json", tmp_path / "out" / "all.json")
    code, out, err = run("--ground-truth", truth, "--predictions", labels, *outputs)
    assert code == 0, err
    # IoU 8/10 of the first: matched at 0.50 … 0.75; nothing predicted in the second
    assert "Kaggle score (mAP) 30.00 over 2 images" in out
    content = json.loads((tmp_path / "out" / "all.json").read_text())
    assert content["images"] == 2
    assert content["kaggle"]["mAP"] == pytest.approx(30)
    assert content["kaggle"]["AP75"] == pytest.approx(50)
    assert content["kaggle"]["AP80"] == 0
    assert content["errors"]["missed"] == 1
    assert (tmp_path / "rows.csv").read_text().splitlines()[1:] == [
        "a,grey,1,1,1,1,60.0000",
        "b,grey,1,0,0,0,0.0000",
    ]


def test_a_mistake_is_one_line_and_exit_code_2(run, files, tmp_path):
    truth, labels = files
    (labels / "a.tif").rename(labels / "c.tif")
    code, _, err = run(
        "--ground-truth", truth, "--predictions", labels, "--json", tmp_path / "all.json"
    )
    assert code == 2
    assert err.count("\n") == 1
    assert "c.tif: found a prediction for image 'c'" in err
    assert not (tmp_path / "all.json").exists()


def test_score_priority_needs_scores(run, files):
    truth, labels = files
    code, _, err = run("--ground-truth", truth, "--predictions", labels, "--priority", "score")
    assert code == 2
    assert "no scores" in err
    assert "Traceback" not in err
