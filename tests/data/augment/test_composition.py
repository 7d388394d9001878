from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from nucdet.config import load_config
from nucdet.data.augment.composition import Composition
from nucdet.data.augment.sample import Sample
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.structures import CroppedMasks

PASTE = "INPUT.AUGMENTATION.COPY_PASTE.PROB"
OVERLAY = "INPUT.AUGMENTATION.OVERLAY.PROB"


def _part(value: int, size=(60, 80)) -> Sample:
    """An image of one grey value, all of it one nucleus whose class is that value."""
    masks = CroppedMasks.from_dense(np.ones((1, *size), bool))
    return Sample(np.full((*size, 3), value, np.uint8), masks, np.array([value], np.int64))


def test_nuclei_come_from_images_of_the_same_kind():
    np.random.seed(0)
    records = [{"id": i, "kind": "ab"[i % 2]} for i in range(10)]
    read = []

    def reader(record):
        read.append(record)
        return _part(record["id"] + 1)

    composition = Composition.from_config(load_config(overrides=[PASTE, "1.0"]), records)
    for _ in range(60):
        composition(records[1], reader)
    assert {record["kind"] for record in read} == {"b"}
    assert len({record["id"] for record in read}) == 5


@pytest.mark.parametrize("key", [PASTE, OVERLAY])
def test_the_given_share_of_images_is_combined(disc_sample, key):
    np.random.seed(0)
    samples = [disc_sample((70, 70, 8)), disc_sample((30, 30, 8))]
    composition = Composition.from_config(load_config(overrides=[key, "0.25"]), [{"id": 0}])
    combined = [composition({"id": 1}, lambda r: samples[r["id"]]).masks for _ in range(100)]
    assert 15 <= sum(len(masks) > 1 for masks in combined) <= 35


def test_without_the_keys_there_is_none():
    assert Composition.from_config(load_config(), []) is None


@pytest.fixture
def mapped(registered):
    """Maps the first image of the drawn data set after seeding."""

    def run(*overrides, others=True):
        records = DatasetCatalog.get("synthetic_train")
        plain = ["INPUT.MIN_SIZE_TRAIN", "(0,)", "INPUT.RANDOM_FLIP", "none"]
        cfg = load_config(overrides=[*plain, *overrides])
        given = {"records": records} if others else {}
        mapper = NucleusDatasetMapper(cfg, augment=True, **given)
        np.random.seed(4)
        return mapper(records[0])

    return run


def test_the_mapper_gives_the_same_for_the_same_seed(mapped):
    keys = (PASTE, "1.0", "INPUT.AUGMENTATION.COLORIZE_PROB", "0.5")
    first, again, plain = mapped(*keys), mapped(*keys), mapped()
    assert np.array_equal(first["image"], again["image"])
    assert np.array_equal(
        np.asarray(first["instances"].gt_masks), np.asarray(again["instances"].gt_masks)
    )
    assert first["image"].shape == plain["image"].shape
    assert not np.array_equal(first["image"], plain["image"])
    instances = first["instances"]
    assert np.array_equal(instances.gt_boxes.tensor.numpy(), instances.gt_masks.boxes)
    assert len(instances.gt_classes) == len(instances.gt_masks) > 0


def test_without_other_images_the_same_one_serves(mapped):
    pasted, plain = mapped(PASTE, "1.0", others=False), mapped()
    assert len(pasted["instances"]) > len(plain["instances"])


def test_light_and_color_change_once_and_last(mapped):
    pasted = mapped(PASTE, "1.0")
    inverted = mapped(PASTE, "1.0", "INPUT.AUGMENTATION.INVERT_PROB", "1.0")
    assert np.array_equal(inverted["image"], 255 - pasted["image"])


def test_an_overlay_adds_the_nuclei_of_another_image(mapped):
    crop = (
        "INPUT.CROP.ENABLED",
        "True",
        "INPUT.CROP.TYPE",
        "absolute",
        "INPUT.CROP.SIZE",
        "[48, 48]",
    )
    plain, both = mapped(*crop), mapped(*crop, OVERLAY, "1.0")
    assert len(both["instances"]) > len(plain["instances"])
    assert (both["image"] >= plain["image"]).all()
