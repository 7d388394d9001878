from __future__ import annotations

import shlex
from argparse import Namespace

import pandas as pd
import pytest

from nucdet.config import load_config
from nucdet.train.training_facts import last_command, scores_of_checkpoint


@pytest.mark.parametrize(
    ("iteration", "scores"),
    [
        (1, {"synthetic_val/kaggle/mAP": 10.0}),
        # the evaluation after the last of 4 iterations has the number 4
        (3, {"synthetic_val/kaggle/mAP": 30.0}),
        (2, {}),
        (None, {}),
    ],
)
def test_only_the_evaluation_of_the_checkpoint_counts(tmp_path, capsys, iteration, scores):
    # without ground truth there is no AP, and JSON has no NaN
    table = {"iteration": [1, 4], "kaggle/mAP": [10.0, 30.0], "segm/AP": [None, None]}
    pd.DataFrame(table).to_csv(tmp_path / "evaluation.csv", index=False)
    cfg = load_config(overrides=["SOLVER.MAX_ITER", "4", "DATASETS.TEST", "('synthetic_val',)"])
    assert scores_of_checkpoint(cfg, tmp_path, iteration) == scores
    said = capsys.readouterr().out
    assert said.count("\n") == (not scores)
    if not scores:
        assert f"of iteration {iteration}" in said or "is not known" in said


def test_the_command_can_be_typed_again():
    options = ["DATASETS.TRAIN", "('dsb2018_train',)", "SEED", "5"]
    stated = {"config_file": "b.yaml", "eval_only": False, "resume": False, "opts": options}
    earlier = stated | {"config_file": "a.yaml"}
    resumed = stated | {"resume": True, "opts": ["SEED", "6"]}
    log = "".join(
        f"Command line arguments: {Namespace(**run)}\n" for run in (earlier, stated, resumed)
    )
    command = shlex.split(last_command(log))
    assert command == ["nucdet-train", "--config-file", "b.yaml", *options]
