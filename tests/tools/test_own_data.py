"""From a folder of images and label maps through every tool, without a line of code."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from PIL import Image

from nucdet.data.conversion.synthetic_images import LOOKS, draw_image

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def raw(tmp_path):
    """Six drawn images with label maps, named as nucdet names its own."""
    for i in range(6):
        image, masks = draw_image(np.random.default_rng(i), 64, next(iter(LOOKS)), nuclei=4)
        for folder in ("images", "labels"):
            (tmp_path / "raw" / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"raw/images/i{i}.png"), image[..., ::-1])
        labels = masks.to_label_map().astype(np.uint16)
        Image.fromarray(labels).save(tmp_path / f"raw/labels/i{i}_label.png")
    return tmp_path / "raw"


def test_convert_look_train_evaluate_tune_predict(
    raw, run_tool, registered, repository, tiny_overrides, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/synthetic").symlink_to(registered / "synthetic")

    def run(tool, *arguments):
        code, printed, error = run_tool(tool, *arguments)
        assert code == 0, error
        return printed

    options = ["--images", raw / "images", "--labels", raw / "labels", "--workers", 1]
    options += ["--name", "mine", "--val-fraction", 0.34, "--class-name", "nucleus"]
    assert "val: 2 images" in run("convert_dataset.py", "labels", *options)
    annotations = tmp_path / "datasets/mine/annotations"

    config = ["--config-file", repository / CONFIG]
    mine = ["DATASETS.TRAIN", "('mine_train','synthetic_train')", "DATASETS.TEST", "('mine_val',)"]
    drawn = tmp_path / "drawn"
    run("visualize_data.py", *config, "--output-dir", drawn, *tiny_overrides, *mine[:2])
    assert len(list(drawn.glob("*.png"))) == 12
    train = annotations / "instances_train.json"
    run("analyze_dataset.py", "--annotations", train, "--output", tmp_path / "statistics")

    run("train_net.py", *config, *tiny_overrides, *mine, "SOLVER.MAX_ITER", 2)
    output = tmp_path / "output"
    assert pd.read_csv(output / "evaluation.csv")["kaggle/mAP"].notna().all()
    results = output / "inference/mine_val/coco_instances_results.json"
    truth = annotations / "instances_val.json"
    given = ["--ground-truth", truth, "--predictions", results]
    run("tune_thresholds.py", *given, "--output-dir", tmp_path / "tuned", "--min-areas", 0)
    run("evaluate_predictions.py", *given)
    images = ["--dataset", "mine_val", "--input", results, "--output-dir", tmp_path / "images"]
    assert "2 images" in run("visualize_results.py", *images)

    # label maps named as those of the images go in again as predictions of another tool
    val = json.loads(truth.read_text())["images"]
    (tmp_path / "theirs").mkdir()
    for image in val:
        name = image["file_name"].split("/")[-1].replace(".png", "_label.png")
        (tmp_path / "theirs" / name).write_bytes((raw / "labels" / name).read_bytes())
    printed = run("evaluate_predictions.py", *given[:3], tmp_path / "theirs")
    assert "100.00" in printed


@pytest.fixture
def stacks(tmp_path):
    """Four stacks of two channels and three depths: nuclei in DAPI, noise in GFP."""
    folder = tmp_path / "stacks"
    folder.mkdir()
    for i in range(4):
        image, masks = draw_image(np.random.default_rng(i), 64, next(iter(LOOKS)), nuclei=4)
        dapi = np.stack([image[..., 0] // part for part in (3, 1, 2)]).astype(np.uint16) * 16
        noise = np.random.default_rng(i).integers(0, 4095, dapi.shape, np.uint16)
        metadata = {"axes": "CZYX", "Channel": {"Name": ["GFP", "DAPI"]}}
        tifffile.imwrite(
            folder / f"s{i}.ome.tif",
            np.stack([noise, dapi]),
            ome=True,
            metadata=metadata,
            photometric="minisblack",
        )
        tifffile.imwrite(folder / f"s{i}_masks.tif", masks.to_label_map().astype(np.uint16))
    return folder


def test_train_on_stacks_and_predict_with_the_same_options(
    stacks, run_tool, registered, repository, tiny_overrides, tmp_path, monkeypatch, contents
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    before = contents(stacks)
    planes = ["--channel", "DAPI", "--z", "max"]
    convert = ["labels", "--images", stacks, "--labels", stacks, "--workers", 1, "--name", "mine"]
    code, _, error = run_tool("convert_dataset.py", *convert, "--channel", "DAPl", "--z", "max")
    lines = error.splitlines()
    assert code == 2 and not (tmp_path / "datasets/mine").exists()
    assert lines[0].endswith("s0.ome.tif: no channel DAPl; its channels are 0 GFP, 1 DAPI")
    assert len(lines) == 5 and lines[4].startswith("error: 4 bad, each listed above")
    code, printed, error = run_tool("convert_dataset.py", *convert, *planes, "--val-fraction", 0.5)
    assert code == 0, error
    assert "give nucdet-predict the same options: --channel DAPI --z max" in printed

    config = ["--config-file", repository / CONFIG, *tiny_overrides, "SOLVER.MAX_ITER", 2]
    config += ["DATASETS.TRAIN", "('mine_train',)", "DATASETS.TEST", "('mine_val',)"]
    assert run_tool("train_net.py", *config)[0] == 0
    output = tmp_path / "output"
    hint = "mine_train: give nucdet-predict the same options: --channel DAPI --z max"
    assert hint in (output / "log.txt").read_text()
    weights = output / "model_final.pth"
    export = [weights, "--name", "mine", "--output", tmp_path / "zoo"]
    assert run_tool("export_weights.py", *export)[0] == 0
    (trained_on,) = json.loads((tmp_path / "zoo/mine.json").read_text())["trained_on"]
    assert trained_on["planes"] == {"channel": "DAPI", "z": "max"}

    truth = tmp_path / "datasets/mine/annotations/instances_val.json"
    val = [Path(image["original"]).name for image in json.loads(truth.read_text())["images"]]
    found = tmp_path / "results"
    # random weights find something from score 0 on
    use = [*config[:2], *tiny_overrides, "MODEL.WEIGHTS", weights, "TEST.SCORE_THRESHOLD", 0]
    given = ["--input", *(stacks / name for name in val), "--output", found, *planes]
    code, _, error = run_tool("predict.py", *given, "--save", "label,coco", *use)
    assert code == 0, error
    for predictions in (found, found / "predictions_coco.json"):
        files = ["--ground-truth", truth, "--predictions", predictions]
        code, printed, error = run_tool("evaluate_predictions.py", *files)
        assert code == 0 and "mAP" in printed, error
    assert contents(stacks) == before


def test_names_of_classes_reach_prediction(registered, repository, tmp_path, monkeypatch):
    from nucdet import Segmenter

    info = {"name": "vital", "classes": ["live", "dead"], "splits": ["train"]}
    (tmp_path / "vital").mkdir()
    (tmp_path / "vital/dataset.yaml").write_text(yaml.safe_dump(info))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    pairs = ["DATASETS.TRAIN", "('vital_train',)", "MODEL.ROI_HEADS.NUM_CLASSES", "2"]
    weights = _random_weights(repository / CONFIG, pairs, tmp_path / "random.pth")
    segmenter = Segmenter(repository / CONFIG, weights, pairs, device="cpu")
    assert segmenter.class_names == ["live", "dead"]


def _random_weights(config, pairs, path):
    import torch
    from detectron2.modeling import build_model

    from nucdet.config import load_config

    overrides = [*pairs, "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]
    torch.save({"model": build_model(load_config(config, overrides)).state_dict()}, path)
    return path


def test_the_finetuning_config_trains_and_predicts_with_its_own_result(
    registered, repository, tmp_path, run_tool, raw
):
    config = ["--config-file", repository / "configs/finetune.yaml"]
    small = ["DATASETS.TRAIN", "('synthetic_train',)", "DATASETS.TEST", "('synthetic_val',)"]
    small += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu"]
    small += ["SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "1", "OUTPUT_DIR", tmp_path / "out"]
    assert run_tool("train_net.py", *config, *small)[0] == 0
    given = ["--input", raw / "images", "--output", tmp_path / "results", "--save", "label"]
    weights = tmp_path / "out/model_final.pth"
    code, _, error = run_tool("predict.py", *given, *config, *small[4:8], "MODEL.WEIGHTS", weights)
    assert code == 0, error
    assert len(list((tmp_path / "results").glob("*_label.tif"))) == 6
