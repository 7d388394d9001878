from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from nucdet.config import load_config
from nucdet.data.augment.composition import Composition, mosaic
from nucdet.data.augment.sample import Sample
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.structures import CroppedMasks

PASTE, MOSAIC = "INPUT.AUGMENTATION.COPY_PASTE.PROB", "INPUT.AUGMENTATION.MOSAIC.PROB"


def _part(value: int, size=(60, 80)) -> Sample:
    """An image of one grey value, all of it one nucleus whose class is that value."""
    masks = CroppedMasks.from_dense(np.ones((1, *size), bool))
    return Sample(np.full((*size, 3), value, np.uint8), masks, np.array([value], np.int64))


def _same(image: np.ndarray) -> np.ndarray:
    return image


def test_a_mosaic_has_a_quarter_of_each_image_and_its_masks():
    np.random.seed(0)
    result = mosaic([_part(value) for value in (10, 20, 30, 40)], _same)
    assert result.image.shape == (60, 80, 3)
    assert result.classes.tolist() == [10, 20, 30, 40]
    dense = np.asarray(result.masks)
    assert (dense.sum(axis=0) == 1).all()
    for value, mask in zip(result.classes, dense, strict=True):
        assert (result.image[mask] == value).all()
    height, width = np.asarray(result.masks.crops[0].shape) / (60, 80)
    assert 0.29 < height < 0.71 and 0.29 < width < 0.71


def test_masks_and_pixels_of_a_mosaic_move_together():
    np.random.seed(1)
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(4):
        labels = np.zeros((60, 80), np.int32)
        for index in range(1, 15):
            y, x = rng.integers(0, 55), rng.integers(0, 75)
            labels[y : y + 5, x : x + 5] = index
        image = np.repeat((labels * 10)[..., None], 3, axis=2).astype(np.uint8)
        present = np.unique(labels)[1:]
        parts.append(Sample(image, CroppedMasks.from_label_map(labels), present.astype(np.int64)))
    result = mosaic(parts, _same)
    assert len(result.masks) > 8
    for label, mask in zip(result.classes, result.masks, strict=True):
        assert (result.image[mask] == label * 10).all()
    assert np.array_equal(np.asarray(result.masks).any(axis=0), result.image[..., 0] > 0)


def test_a_image_smaller_than_its_quarter_is_surrounded_by_its_colour():
    np.random.seed(2)
    result = mosaic([_part(10), _part(20), _part(30), _part(40, size=(5, 6))], _same)
    assert set(np.unique(result.image)) == {10, 20, 30, 40}
    assert result.masks.areas[-1] == 30
    y, x = result.masks.offsets[-1]
    assert (result.image[y:, x:] == 40).all()


def test_each_part_of_a_mosaic_gets_a_light_of_its_own():
    np.random.seed(3)
    steps = iter((1, 2, 3, 4))
    result = mosaic([_part(value) for value in (10, 20, 30, 40)], lambda i: i + next(steps))
    assert set(np.unique(result.image)) == {11, 22, 33, 44}


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

    read.clear()
    composition = Composition.from_config(load_config(overrides=[MOSAIC, "1.0"]), records)
    composition(records[1], reader)
    assert len(read) == 4 and read[0] is records[1]


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
    keys = (PASTE, "1.0", MOSAIC, "1.0", "INPUT.AUGMENTATION.COLOURISE_PROB", "0.5")
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
    assert len(mapped(PASTE, "1.0", MOSAIC, "1.0", others=False)["instances"]) > 0
    pasted, plain = mapped(PASTE, "1.0", others=False), mapped()
    assert len(pasted["instances"]) > len(plain["instances"])


@pytest.mark.parametrize("key", [PASTE, MOSAIC])
def test_light_and_colour_change_once_and_last(mapped, key):
    pasted = mapped(key, "1.0")
    inverted = mapped(key, "1.0", "INPUT.AUGMENTATION.INVERT_PROB", "1.0")
    assert np.array_equal(inverted["image"], 255 - pasted["image"])
