"""The models that ship with nucdet: whole, small enough, and good on images of every look."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from detectron2.modeling import build_model

from nucdet import Segmenter
from nucdet.config import load_config
from nucdet.data.conversion.synthetic_images import LOOKS, draw_image
from nucdet.evaluation.matching import Intersections, match
from nucdet.modeling.model_zoo import DEFAULT_MODEL, find_model, model_names


@pytest.mark.parametrize("name", model_names())
def test_files(name):
    model = find_model(name)  # compares the hash
    assert model.weights.stat().st_size <= 32e6
    manifest = model.read_manifest()
    facts = ("command", "seed", "iterations", "hours", "hardware", "scores", "trained_on")
    assert not [fact for fact in facts if manifest[fact] in (None, "", [], {})]
    cfg = load_config(model.config, ["MODEL.DEVICE", "cpu"])
    parameters = build_model(cfg).parameters()
    assert manifest["parameters"] == sum(weight.numel() for weight in parameters)
    assert find_model(cfg.MODEL.WEIGHTS) == model
    assert cfg.TEST.DETECTIONS_PER_IMAGE >= 500
    assert "_BASE_" not in model.config.read_text()


def test_the_default_model_finds_drawn_nuclei():
    assert DEFAULT_MODEL in model_names()
    segmenter = Segmenter(device="cpu")
    scores = {}
    for number, look in enumerate(LOOKS):
        image, truth = draw_image(np.random.default_rng([7, number]), 256, look)
        found = segmenter.predict(image).pred_masks
        scores[look] = match(Intersections.of_masks(truth, found)).score
    assert np.mean(list(scores.values())) > 0.5, scores
    assert scores["fluorescence"] > 0.5, scores


def test_evaluates_from_its_config(registered, run_tool, tmp_path):
    config = find_model(DEFAULT_MODEL).config
    pairs = ["DATASETS.TEST", "('synthetic_val',)", "DATALOADER.NUM_WORKERS", "0"]
    pairs += ["MODEL.WEIGHTS", f"nucdet://{DEFAULT_MODEL}", "OUTPUT_DIR", str(tmp_path)]
    code, _, _ = run_tool("train_net.py", "--eval-only", "--config-file", config, *pairs)
    assert code == 0
    table = pd.read_csv(tmp_path / "inference/synthetic_val/kaggle_per_image.csv")
    assert len(table) == 4
    # images of 64 × 64 hold a nucleus or two
    assert table["score"].mean() > 10
