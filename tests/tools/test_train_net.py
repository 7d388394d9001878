from __future__ import annotations

import json
from functools import partial

import pandas as pd
import pytest

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def train_net(run_tool, registered):
    return partial(run_tool, "train_net.py")


def test_train_then_evaluate_gives_the_same(train_net, repository, tiny_overrides, tmp_path):
    config = ["--config-file", str(repository / CONFIG)]
    assert train_net(*config, *tiny_overrides, "SOLVER.MAX_ITER", "2")[0] == 0
    output, other = tmp_path / "output", tmp_path / "other"
    scores = pd.read_csv(output / "evaluation.csv")["kaggle/mAP"]

    weights = ["MODEL.WEIGHTS", str(output / "model_best.pth"), "OUTPUT_DIR", str(other)]
    assert train_net("--eval-only", *config, *tiny_overrides, *weights)[0] == 0
    table = pd.read_csv(other / "inference/synthetic_val/kaggle_per_image.csv")
    assert len(table) == 4
    assert table["score"].mean() == pytest.approx(scores.iloc[-1], abs=1e-3)
    results = "inference/synthetic_val/coco_instances_results.json"
    predictions = json.loads((output / results).read_text())
    assert predictions and json.loads((other / results).read_text()) == predictions


def test_a_mistake_is_one_line_and_code_2(train_net, repository, tiny_overrides):
    mistake = ["DATASETS.TRAIN", "('dsb2018_trian',)"]
    config = ["--config-file", str(repository / CONFIG)]
    code, _, error = train_net(*config, *tiny_overrides, *mistake)
    assert code == 2
    assert error.startswith("error: data set 'dsb2018_trian' is not registered")
    assert error.count("\n") == 1
