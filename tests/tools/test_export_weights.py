"""From a checkpoint into the zoo, and evaluated from there, clean and perturbed."""

from __future__ import annotations

import json
import shlex
from hashlib import sha256

import pandas as pd
import pytest
import torch

from nucdet.config import load_config
from nucdet.modeling import model_zoo
from nucdet.train import export_weights as exporting

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"
LOG = """\
[11/21 10:22:39] detectron2 INFO: Environment info:
GPU 0                            NVIDIA H100 80GB HBM3 (arch=9.0)
[11/21 10:22:39] detectron2 INFO: Command line arguments: \
Namespace(config_file='a.yaml', eval_only=True, resume=False, opts=[])
[11/21 10:22:39] detectron2 INFO: Command line arguments: \
Namespace(config_file='b.yaml', eval_only=False, resume=False, \
opts=['OUTPUT_DIR', '/x', 'SEED', '5'])
"""


@pytest.fixture
def run(registered, run_tool):
    return run_tool


@pytest.fixture
def trained(repository, registered, tiny_overrides, tmp_path):
    """The folder of a training: a checkpoint of random weights, config, logs."""
    from detectron2.modeling import build_model

    # random weights find something from score 0 on
    more = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "30"]
    cfg = load_config(repository / CONFIG, [*tiny_overrides, *more, "SEED", "5"])
    torch.manual_seed(0)
    folder = tmp_path / "trained"
    folder.mkdir()
    content = {"model": build_model(cfg).state_dict(), "trainer": {}, "iteration": 3}
    torch.save(content, folder / "model_final.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    (folder / "log.txt").write_text(LOG)
    pd.DataFrame({"iteration": range(4), "time": [None, 1800, 1800, 1800]}).to_csv(
        folder / "losses.csv", index=False
    )
    pd.DataFrame({"iteration": [1, 4], "kaggle/mAP": [10, 20.5], "kaggle/AP95": [1, 2]}).to_csv(
        folder / "evaluation.csv", index=False
    )
    return folder


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    monkeypatch.setattr(model_zoo, "MODEL_ZOO", tmp_path / "zoo")
    return tmp_path / "zoo"


def test_facts_files_and_evaluation(run, trained, zoo, tmp_path, registered):
    export = (trained / "model_final.pth", "--name", "dsb2018")
    code, out, _ = run("export_weights.py", *export, "--score", "elsewhere/mAP=55", "--note", "n")
    assert code == 0
    assert "dsb2018.pth" in out and "tell it by" not in out
    manifest = json.loads((zoo / "dsb2018.json").read_text())
    train_json = registered / "synthetic/annotations/instances_train.json"
    expected = {
        "command": "nucdet-train --config-file b.yaml SEED 5",
        "seed": 5,
        "iterations": 4,
        "hours": 2.0,
        "hardware": "NVIDIA H100 80GB HBM3 (arch=9.0)",
        "scores": {"synthetic_val/kaggle/mAP": 20.5, "elsewhere/mAP": 55.0},
        "note": "n",
        "bytes": (zoo / "dsb2018.pth").stat().st_size,
    }
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["trained_on"][0]["name"] == "synthetic_train"
    assert manifest["trained_on"][0]["json_sha256"] == sha256(train_json.read_bytes()).hexdigest()
    full = (trained / "model_final.pth").stat().st_size
    assert manifest["bytes"] < 0.55 * full

    # a later change of nucdet's defaults does not reach it
    text = (zoo / "dsb2018.yaml").read_text()
    assert "NUCLEUS_DIAMETER: 31.0" in text and "WEIGHT_DECAY_NORM" not in text

    # equal weights give equal bytes
    first = (zoo / "dsb2018.pth").read_bytes()
    assert run("export_weights.py", *export)[0] == 0
    assert (zoo / "dsb2018.pth").read_bytes() == first

    scores = {}
    for name, weights in (("zoo", []), ("file", ["MODEL.WEIGHTS", trained / "model_final.pth"])):
        output = tmp_path / name
        perturb = ["--perturb", "5%,0.1"] if name == "zoo" else []
        arguments = ["--eval-only", "--config-file", zoo / "dsb2018.yaml", *perturb, *weights]
        arguments += ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", output]
        code, _, err = run("train_net.py", *arguments)
        assert code == 0, err
        scores[name] = pd.read_csv(output / "inference/synthetic_val/kaggle_per_image.csv")
    assert scores["file"]["n_pred"].sum() > 20
    both = scores["zoo"].merge(scores["file"], on="id")
    assert (both["n_pred_x"] - both["n_pred_y"]).abs().max() <= 2

    table = pd.read_csv(tmp_path / "zoo/seed_0.05_0.1.csv", index_col="metric")
    assert table.loc["kaggle/mAP", "clean"] == pytest.approx(scores["zoo"]["score"].mean())
    perturbed = tmp_path / "zoo/seed_0.05_0.1/inference/synthetic_val/kaggle_per_image.csv"
    mean = pd.read_csv(perturbed)["score"].mean()
    assert table.loc["kaggle/mAP", "perturbed"] == pytest.approx(mean)
    assert {name.split("/")[0] for name in table.index} == {"bbox", "segm", "kaggle"}
    assert not scores["zoo"].equals(pd.read_csv(perturbed))


def test_a_model_outside_the_zoo_says_how_it_is_used(run, trained, zoo, tmp_path):
    folder = tmp_path / "my models"
    export = (trained / "model_final.pth", "--name", "mine", "--output", folder)
    code, out, _ = run("export_weights.py", *export)
    assert code == 0
    usage = shlex.split(out.splitlines()[-1].removeprefix("use it with "))
    config, weights = folder / "mine.yaml", folder / "mine.pth"
    assert usage == ["--config-file", str(config), "MODEL.WEIGHTS", str(weights)]
    output = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", tmp_path / "eval"]
    assert run("train_net.py", "--eval-only", *usage, *output)[0] == 0
    code, _, error = run("train_net.py", "--eval-only", "--config-file", config, *output)
    assert code == 2 and "for weights of your own, give their path" in error


def test_a_mean_of_checkpoints(run, trained, zoo):
    """One of weights w and one of 3 w give 2 w, and no scores that neither of them has."""
    content = torch.load(trained / "model_final.pth", weights_only=True)
    content["model"] = {
        name: 3 * t if t.is_floating_point() else t for name, t in content["model"].items()
    }
    torch.save(content, trained / "other.pth")
    arguments = (trained / "model_final.pth", "--average-with", trained / "other.pth")
    code, _, err = run("export_weights.py", *arguments, "--name", "mean")
    assert code == 0, err
    manifest = json.loads((zoo / "mean.json").read_text())
    assert manifest["mean_of_checkpoints"] == 2
    assert manifest["scores"] == {} and manifest["iterations"] == 4
    mean = torch.load(zoo / "mean.pth", weights_only=True)["model"]
    for name, tensor in mean.items():
        other = content["model"][name]
        expected = other * 2 / 3 if other.is_floating_point() else other
        torch.testing.assert_close(tensor.float(), expected.float(), rtol=1e-3, atol=1e-4)

    content["model"].popitem()
    torch.save(content, trained / "other.pth")
    code, _, err = run("export_weights.py", *arguments, "--name", "mean")
    assert code == 2 and "only checkpoints of one training can be averaged" in err
    for other in ({"weights": content["model"]}, {"model": {"a": 1.0}}):
        torch.save(other, trained / "other.pth")
        code, _, err = run("export_weights.py", *arguments, "--name", "mean")
        assert code == 2 and "expected a checkpoint that a training saved" in err


def test_the_default_model_predicts(run, trained, zoo):
    import numpy as np

    from nucdet import Segmenter

    assert run("export_weights.py", trained / "model_final.pth", "--name", "nuclei")[0] == 0
    segmenter = Segmenter(device="cpu")
    assert segmenter.cfg.MODEL.WEIGHTS == "nucdet://nuclei"
    image = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    assert len(segmenter.predict(image)) > 0


def test_mistakes_are_one_line_and_leave_nothing(run, trained, zoo, repository, monkeypatch):
    checkpoint = trained / "model_final.pth"
    other = repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"
    on_synthetic = ("DATASETS.TRAIN", "('synthetic_train',)")
    broken = torch.load(checkpoint)
    broken["model"]["backbone.fpn_lateral2.weight"][0, 0] = float("inf")
    torch.save(broken, trained / "diverged.pth")
    for arguments, complaint in (
        ((trained / "none.pth", "--name", "a"), "none.pth: no such checkpoint"),
        ((checkpoint, "--name", "A b"), "name 'A b'"),
        ((checkpoint, "--name", "a", "--config-file", other, *on_synthetic), "of another network"),
        ((trained / "diverged.pth", "--name", "a"), "fpn_lateral2.weight"),
        ((checkpoint, "--name", "a", "DATASETS.TRAIN", "('x',)"), "'x' is not registered"),
    ):
        code, _, error = run("export_weights.py", *arguments)
        assert code == 2
        assert error.startswith("error: ") and error.count("\n") == 1
        assert complaint in error
    monkeypatch.setattr(exporting, "MAX_BYTES", 10**6)
    code, _, error = run("export_weights.py", checkpoint, "--name", "a")
    assert code == 2 and "at most 1 MB may ship" in error
    assert not zoo.exists()


def test_small_tensors_and_large_values_keep_32_bits():
    state = {
        "kernel": torch.rand(3, 3),
        "bias": torch.rand(3),
        "large": torch.full((2, 2), 1e5),
        "counter": torch.tensor(3),
    }
    stored = exporting.compress(state)
    kinds = {key: tensor.dtype for key, tensor in stored.items()}
    half, full = torch.float16, torch.float32
    assert kinds == {"kernel": half, "bias": full, "large": full, "counter": torch.int64}


@pytest.mark.parametrize("text", ["0.05", "5,10", "a,b", "0.05,0.1,0.2", ""])
def test_perturb_takes_two_shares(run, text):
    code, _, error = run("train_net.py", "--eval-only", "--perturb", text)
    assert code == 2
    assert f"--perturb {text}: expected MEAN,POWER" in error


def test_perturb_belongs_to_evaluation(run):
    code, _, error = run("train_net.py", "--perturb", "0.05,0.1")
    assert code == 2 and "add --eval-only" in error
