"""benchmarks/robustness.py: a table whose clean row is the evaluation's, of all or some images."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import torch

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def benchmark(load_benchmark):
    return load_benchmark("robustness")


def test_table(benchmark, repository, registered, tiny_overrides, tmp_path, monkeypatch):
    from detectron2.modeling import build_model

    from nucdet.commands.train import argument_parser
    from nucdet.config import load_config
    from nucdet.train.run import run

    config = ["--config-file", str(repository / CONFIG)]
    more = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "30"]
    pairs = [*tiny_overrides, *more]
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    torch.save({"model": build_model(load_config(config[1], pairs)).state_dict()}, weights)
    pairs += ["MODEL.WEIGHTS", str(weights)]
    run(argument_parser().parse_args(["--eval-only", *config, *pairs]))
    expected = tmp_path / "output/inference/synthetic_val/kaggle_per_image.csv"
    expected = pd.read_csv(expected)["score"]

    options = ["--dataset", "synthetic_val", "--perturbation", "invert", "--perturbation", "blur:2"]
    for limit, name in (([], "synthetic_val"), (["--limit", "2"], "synthetic_val_2")):
        folder = tmp_path / name
        arguments = ["robustness.py", *config, *options, *limit, "--output", str(folder), *pairs]
        monkeypatch.setattr(sys, "argv", arguments)
        benchmark.main()
        table = pd.read_csv(folder / "robustness.csv", index_col="perturbation")
        assert list(table.index) == ["clean", "invert", "blur:2"]
        assert (table["lost"] == (table["mAP"].iloc[0] - table["mAP"]).round(3)).all()
        images = pd.read_csv(folder / f"clean/inference/{name}/kaggle_per_image.csv")
        assert len(images) == (2 if limit else 4)
        if not limit:
            assert table.loc["clean", "mAP"] == pytest.approx(expected.mean(), abs=1e-3)
        assert (folder / "robustness.md").read_text().count("\n") == 5
