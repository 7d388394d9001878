from __future__ import annotations

import runpy
import sys

import pandas as pd
import pytest

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def train_net(repository, registered, monkeypatch):
    """Run the tool as a script; gives its exit code."""

    def call(*arguments: str) -> int:
        script = str(repository / "tools" / "train_net.py")
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(script, run_name="__main__")
        return exit_info.value.code

    return call


def test_train_then_evaluate_gives_the_same_score(train_net, repository, tiny_overrides, tmp_path):
    config = ["--config-file", str(repository / CONFIG)]
    assert train_net(*config, *tiny_overrides, "SOLVER.MAX_ITER", "2") == 0
    output = tmp_path / "output"
    trained = pd.read_csv(output / "evaluation.csv")["kaggle/mAP"].iloc[-1]

    weights = ["MODEL.WEIGHTS", str(output / "model_best.pth")]
    other = ["OUTPUT_DIR", str(tmp_path / "other")]
    assert train_net("--eval-only", *config, *tiny_overrides, *weights, *other) == 0
    table = pd.read_csv(tmp_path / "other/inference/synthetic_val/kaggle_per_image.csv")
    assert len(table) == 4
    assert trained > 0
    assert table["score"].mean() == pytest.approx(trained, abs=1e-3)


def test_a_mistake_is_one_line_and_code_2(train_net, repository, tiny_overrides, capsys):
    mistake = ["DATASETS.TRAIN", "('dsb2018_trian',)"]
    config = ["--config-file", str(repository / CONFIG)]
    assert train_net(*config, *tiny_overrides, *mistake) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: data set 'dsb2018_trian' is not registered")
    assert error.count("\n") == 1
