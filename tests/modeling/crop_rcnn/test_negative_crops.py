"""Crops of images without nuclei: from a folder, from CIFAR-10's files."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from nucdet.config import load_config
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.modeling.crop_rcnn.negative_crops import NegativeCrops, read_cifar10


def save_grey(path, value: int, size=(50, 70)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Small files in CIFAR-10's format, and torchvision's checksums of the official ones theirs."""
    folder = tmp_path / "deep" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def write(name: str, content: dict) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str, *values: int) -> list[str]:
        data = np.zeros((len(values), 3, 1024), np.uint8)
        data[:, 0] = np.array(values)[:, None]  # red; green and blue are 0
        return write(name, {"data": data.reshape(len(values), -1), "labels": [0] * len(values)})

    train = [batch("data_batch_1", 30, 60), batch("data_batch_2", 92)]
    meta, checksum = write("batches.meta", {"label_names": ["a"]})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", 240)])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "filename": meta, "md5": checksum})
    return folder


def seen(crops: torch.Tensor) -> set[int]:
    assert crops.dtype == torch.uint8
    return set(crops.unique().tolist())


def test_every_fifth_image_is_for_evaluation(tmp_path):
    for i in range(6):
        save_grey(tmp_path / f"deep/{i}.png", 40 * i)
    (tmp_path / "notes.txt").write_text("no image")
    np.random.seed(0)
    training = NegativeCrops(tmp_path, 60, 32, training=True)
    evaluation = NegativeCrops(tmp_path, 60, 32, training=False)
    assert training(1).shape == (60, 1, 32, 32)
    assert seen(training(1)) == {40, 80, 120, 160}
    assert seen(evaluation(1)) == {0, 200}


def test_evaluation_draws_the_same_for_an_image_and_training_does_not(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (60, 60), np.uint8)).save(tmp_path / f"{i}.png")
    evaluation = NegativeCrops(tmp_path, 3, 32, training=False)
    assert torch.equal(evaluation(7), evaluation(7))
    assert not torch.equal(evaluation(7), evaluation(8))
    training = NegativeCrops(tmp_path, 3, 32, training=True)
    assert not torch.equal(training(7), training(7))


def test_a_crop_is_a_piece_of_the_image(tmp_path):
    """One as large as the crop leaves no choice."""
    pixels = np.arange(1024, dtype=np.uint16).reshape(32, 32) // 4
    for name in "ab":
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    crop = NegativeCrops(tmp_path, 1, 32, training=True)(1)
    assert np.array_equal(crop[0, 0].numpy(), pixels)


def test_images_smaller_than_a_crop_are_enlarged(tmp_path):
    for name in "ab":
        save_grey(tmp_path / f"{name}.png", 9, size=(5, 7))
    assert seen(NegativeCrops(tmp_path, 4, 32, training=True)(1)) == {9}


def test_cifar10_as_it_unpacks(tmp_path, cifar10):
    np.random.seed(0)
    # the mean of the three colors
    assert seen(NegativeCrops(tmp_path, 50, 32, training=True)(1)) == {10, 20, 31}
    assert seen(NegativeCrops(cifar10, 50, 32, training=False)(1)) == {80}


class _Harm:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


@pytest.mark.parametrize("content", [None, b"not a pickle", pickle.dumps({"data": _Harm()})])
def test_a_missing_or_other_file_is_one_line_and_runs_no_code(cifar10, content, capsys):
    (cifar10 / "data_batch_2").unlink()
    if content is not None:
        (cifar10 / "data_batch_2").write_bytes(content)
    for training in (True, False):
        with pytest.raises(InputError, match=r"cifar-10-batches-py: a file of CIFAR-10"):
            read_cifar10(cifar10, training)
    assert "ran code" not in capsys.readouterr().out


def test_missing_and_empty_folders_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        NegativeCrops(tmp_path / "none", 4, 32, training=True)
    save_grey(tmp_path / "single.png", 1)
    with pytest.raises(InputError, match="found 1 images and no cifar-10-batches-py"):
        NegativeCrops(tmp_path, 4, 32, training=True)


def test_the_mapper_adds_them_where_the_config_names_a_folder(registered, repository, tmp_path):
    from detectron2.data import DatasetCatalog

    for i in range(2):
        save_grey(tmp_path / f"others/{i}.png", 100 * i)
    record = DatasetCatalog.get("synthetic_train")[0]
    pairs = ["MODEL.NUCLEUS_FILTER.OTHERS_FOLDER", str(tmp_path / "others")]
    pairs += ["MODEL.CROP_RCNN.STRETCH", "False"]
    cfg = load_config(repository / "configs/DSB2018/crop_rcnn.yaml", pairs)
    mapped = NucleusDatasetMapper(cfg, augment=True)(record)
    assert mapped["negative_crops"].shape == (16, 1, 32, 32)
    assert seen(mapped["negative_crops"]) == {100}
    measured = NucleusDatasetMapper(cfg, augment=False, with_truth=True)(record)
    assert seen(measured["negative_crops"]) == {0}
    assert "negative_crops" not in NucleusDatasetMapper(cfg, augment=False)(record)
    cfg.MODEL.NUCLEUS_FILTER.MODE = "off"
    assert "negative_crops" not in NucleusDatasetMapper(cfg, augment=True)(record)


def test_where_images_are_stretched_other_images_are_too(cifar10, tmp_path, repository):
    folder = tmp_path / "others"
    folder.mkdir()
    bright = np.repeat(np.uint8([[200, 200, 200, 150]]), 4, axis=0)  # a dark edge
    for i in range(2):
        Image.fromarray(bright).save(folder / f"{i}.png")
    drawn = NegativeCrops(folder, 8, 4, training=True, stretched=True)
    assert seen(drawn(1)) == {0, 255}  # the ground is dark, the edge bright
    assert seen(NegativeCrops(folder, 8, 4, training=True)(1)) == {150, 200}
    small = NegativeCrops(cifar10, 50, 32, training=True, stretched=True)
    assert seen(small(1)) == {0}  # images of one color

    pairs = ["MODEL.NUCLEUS_FILTER.OTHERS_FOLDER", str(folder)]
    for stretched in (True, False):
        pairs_of = [*pairs, "MODEL.CROP_RCNN.STRETCH", str(stretched)]
        cfg = load_config(repository / "configs/DSB2018/crop_rcnn.yaml", pairs_of)
        assert NegativeCrops.from_config(cfg, training=True).stretched is stretched
