"""One image in every depth: with INPUT.NORMALIZE "percentile" its masks are the same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
import torch
from detectron2.modeling import build_model

from nucdet.config import load_config
from nucdet.data.io import normalization, windows
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.predict import Segmenter, configure, default_model, planning

PERCENTILE = ["INPUT.NORMALIZE", "percentile"]
CLASSICAL = "configs/DSB2018/classical_watershed.yaml"


def field(dtype=np.float64) -> np.ndarray:
    """(90, 110): 12 blurred nuclei of 60 to 115 levels on a ground of 20, with noise."""
    y, x = np.mgrid[:90, :110]
    values = np.full(y.shape, 20.0)
    for i in range(12):
        distance = np.hypot(y - 15 - 30 * (i // 4), x - 15 - 26 * (i % 4))
        values += (40 + 5 * i) / (1 + np.exp((distance - 8) / 0.8))
    return (values + np.random.default_rng(0).normal(0, 1.5, y.shape)).round().astype(dtype)


EIGHT = field(np.uint8)
OTHERS = {
    "16": field(np.uint16) * 257,
    "12 in 16": field(np.uint16) * 16 + 200,
    "32": field(np.uint32) * 65536,
    "float": (field() / 255).astype(np.float32),
    "quarter": field(np.float32) * 0.25,
    "offset": EIGHT + 90,
    "16, offset": field(np.uint16) + 30000,
}


def assert_same_masks(segmenter: Segmenter, image: np.ndarray) -> None:
    expected, found = segmenter.predict(EIGHT), segmenter.predict(image)
    assert len(found) == len(expected) > 0
    found, expected = (prediction.label_map() > 0 for prediction in (found, expected))
    different = np.count_nonzero(found != expected)
    assert different <= 0.01 * np.count_nonzero(expected)


@pytest.fixture(scope="module")
def classical(repository):
    return Segmenter(repository / CLASSICAL, None, PERCENTILE, "cpu")


@pytest.fixture(scope="module")
def unet(repository, tmp_path_factory):
    """A small network of random weights, with a threshold that its random output passes."""
    config = repository / "configs/DSB2018/unet_small.yaml"
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    model = build_model(load_config(config, ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict()}, path)
    return Segmenter(config, path, [*PERCENTILE, "MODEL.SEPARATION.THRESHOLD", "otsu"], "cpu")


@pytest.mark.parametrize("depth", OTHERS)
def test_classical_watershed(classical, depth):
    assert len(classical.predict(EIGHT)) == 12
    assert_same_masks(classical, OTHERS[depth])


@pytest.mark.parametrize("depth", OTHERS)
def test_small_unet(unet, depth):
    assert_same_masks(unet, OTHERS[depth])


def test_mask_rcnn():
    shipped = Segmenter(default_model(), None, PERCENTILE, "cpu", precision="float32")
    assert len(shipped.predict(EIGHT)) == 12
    for depth in ("12 in 16", "quarter"):
        assert_same_masks(shipped, OTHERS[depth])


def test_training_evaluation_and_prediction_show_the_network_the_same(repository, tmp_path):
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, OTHERS["12 in 16"])
    record = {"file_name": path, "height": 90, "width": 110, "annotations": []}
    overrides = ["INPUT.CROP.ENABLED", "False", "INPUT.RANDOM_FLIP", "none"]
    overrides += ["INPUT.AUGMENTATION.TURN_90", "False"]
    for rule in normalization.RULES:
        key = ["INPUT.NORMALIZE", rule]
        cfg = load_config(repository / CLASSICAL, [*overrides, *key])
        training = NucleusDatasetMapper(cfg, augment=True)(record)["image"]
        evaluation = NucleusDatasetMapper(cfg, augment=False)(record)["image"]
        source = Segmenter(repository / CLASSICAL, None, key, "cpu").open(path)[0]
        prediction = source.read(source.whole()).transpose(2, 0, 1)
        assert training.dtype == torch.uint8 and prediction.max() == 255
        np.testing.assert_array_equal(training, prediction)
        np.testing.assert_array_equal(evaluation, prediction)


def test_tiles_share_the_limits_of_the_whole_file(classical, tmp_path, monkeypatch):
    image = np.tile(OTHERS["12 in 16"], (3, 3))
    image[:150] //= 2  # by itself a tile up there would be stretched further
    tifffile.imwrite(tmp_path / "a.tif", image, compression="zlib", tile=(64, 64))
    whole = classical.open(tmp_path / "a.tif")[0]
    for module in (normalization, windows):
        monkeypatch.setattr(module, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(normalization, "_SAMPLE_SIDE", 64)
    by_windows = classical.open(tmp_path / "a.tif")[0]
    assert isinstance(by_windows, windows.TiffWindows)
    seen = by_windows.read(np.s_[10:70, 200:260]).astype(int)
    assert abs(seen - whole.read(np.s_[10:70, 200:260])).max() <= 6
    for name, value in (("WHOLE_SIDE", 150), ("TILE_SIDE", 120), ("TILE_OVERLAP", 40)):
        monkeypatch.setattr(planning, name, value)
    from_file, from_array = classical.predict_file(tmp_path / "a.tif"), classical.predict(image)
    np.testing.assert_array_equal(from_file.label_map(), from_array.label_map())


def test_an_unknown_rule(repository):
    with pytest.raises(InputError, match=r"INPUT\.NORMALIZE is 'minmax'"):
        configure(repository / CLASSICAL, None, ["INPUT.NORMALIZE", "minmax"])
    cfg = load_config(repository / CLASSICAL, ["INPUT.NORMALIZE", "minmax"])
    with pytest.raises(InputError, match=r"INPUT\.NORMALIZE is 'minmax'"):
        NucleusDatasetMapper(cfg, augment=True)
