"""From a checkpoint to a model that knows its training images, through the tool."""

from __future__ import annotations

import pytest
import torch

from nucdet import Segmenter
from nucdet.config import load_config
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError
from nucdet.predict.familiarity import UNFAMILIAR
from nucdet.train import familiarity as measuring

CONFIG = "configs/nuclei/center_voting_lite0.yaml"
OVERRIDES = {
    "MODEL.WEIGHTS": "",
    "MODEL.DEVICE": "cpu",
    "DATASETS.TRAIN": "('synthetic_train',)",
    "DATASETS.TEST": "('synthetic_val',)",
    "DATALOADER.NUM_WORKERS": "0",
    "INPUT.CROP.SIZE": "[64, 64]",
    "INPUT.RESIZE_RULE": "enlarge",  # random weights know no size of nuclei
    "INPUT.MIN_SIZE_TRAIN": "(128,)",
    "INPUT.MIN_SIZE_TEST": "128",
}


@pytest.fixture
def checkpoint(repository, registered, tmp_path):
    """Of random weights, with its config beside it."""
    from detectron2.modeling import build_model

    pairs = [text for pair in OVERRIDES.items() for text in pair]
    cfg = load_config(repository / CONFIG, pairs)
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model_final.pth")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    return tmp_path / "model_final.pth"


def test_a_model_that_remembers_its_training_images(
    checkpoint, registered, run_tool, monkeypatch, tmp_path
):
    monkeypatch.setattr(measuring, "CROPS", 12)
    monkeypatch.setattr(measuring, "WARNED", 0.25)
    export = (checkpoint, "--name", "tiny", "--output", tmp_path / "zoo")
    code, out, error = run_tool("export_weights.py", *export, "--familiarity", "synthetic_val")
    assert code == 0, error
    assert '"familiarity_limit_from": "synthetic_val"' in out

    weights = tmp_path / "zoo/tiny.pth"
    stored = torch.load(weights, weights_only=True)["familiarity"]
    assert stored["sides"].tolist() == [64, 128]
    small, whole = stored["limits"].tolist()
    assert small >= whole > 0
    assert sum(t.nbytes for t in stored.values() if torch.is_tensor(t)) < 500_000

    segmenter = Segmenter(checkpoint.parent / "config.yaml", weights, device="cpu")
    files = sorted((registered / "synthetic/images").rglob("*.png"))
    images = [read_image(path) for path in files[:6]]
    found = [segmenter.predict(image) for image in images]
    assert all(one.familiarity > 0 for one in found)
    assert [bool(one.warning) for one in found] == [one.familiarity < 1 for one in found]

    # the same image, once the limit is so near that nothing is familiar
    content = torch.load(weights, weights_only=True)
    content["familiarity"]["limits"] /= 1000
    torch.save(content, weights)
    strict = Segmenter(checkpoint.parent / "config.yaml", weights, device="cpu")
    strange = strict.predict(images[0])
    assert strange.familiarity == pytest.approx(found[0].familiarity / 1000, rel=1e-3)
    assert strange.warning == strange[:0].warning == strange.to("cpu").warning == UNFAMILIAR

    # whoever asked for no statistics has a model that says nothing
    code, *_ = run_tool("export_weights.py", *export)
    assert code == 0
    silent = Segmenter(checkpoint.parent / "config.yaml", weights, device="cpu").predict(images[0])
    assert silent.familiarity is None and silent.warning == ""


def test_mistakes_are_one_line(checkpoint, run_tool, tmp_path):
    export = (checkpoint, "--name", "tiny", "--output", tmp_path / "zoo")
    code, _, error = run_tool("export_weights.py", *export, "--familiarity", "nowhere_val")
    assert code == 2 and error.count("\n") == 1 and "'nowhere_val' is not registered" in error
    assert not (tmp_path / "zoo").exists()


def test_a_data_set_too_small_for_a_limit(checkpoint, registered, monkeypatch):
    monkeypatch.setattr(measuring, "_training_features", None)  # found before any work
    cfg = load_config(checkpoint.parent / "config.yaml")
    with pytest.raises(InputError, match="synthetic_val: has 4 images; expected at least 34"):
        measuring.measure_familiarity(cfg, checkpoint, "synthetic_val")
