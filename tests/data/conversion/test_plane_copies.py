"""Stacks become data sets: training sees the pixels that prediction reads, originals stay."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from detectron2.data import DatasetCatalog
from pycocotools import mask as coco_mask

from nucdet.config import load_config
from nucdet.data.conversion.coco import convert_coco
from nucdet.data.conversion.labels import convert_labels
from nucdet.data.conversion.own_data import OwnData
from nucdet.data.datasets import chosen_planes, register_datasets
from nucdet.data.io import windows
from nucdet.data.io.choice import Choice
from nucdet.data.io.normalization import RULES
from nucdet.data.io.planes import LargePlane, open_windows
from nucdet.data.io.reading import read_image
from nucdet.data.io.stacks import Stack
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError

TIMES, CHANNELS, DEPTHS, SIZE = 2, ("GFP", "DAPI"), 3, (24, 30)
DAPI_MAX = Choice("DAPI", "max", 0)


def planes(seed, dtype=np.uint8):
    """Noise (T, C, Z, H, W) that fills the dtype, or floats from -1 on."""
    shape = (TIMES, len(CHANNELS), DEPTHS, *SIZE)
    noise = np.random.default_rng(seed).gamma(2, 30, shape)
    if dtype == np.float32:
        return (noise / 40 - 1).astype(dtype)
    return np.clip(noise, 0, 255).astype(dtype) * (np.iinfo(dtype).max // 255)


def save_stack(path, stack):
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"axes": "TCZYX", "Channel": {"Name": list(CHANNELS)}}
    tifffile.imwrite(path, stack, ome=True, metadata=metadata, photometric="minisblack")


def label_map(first=1):
    """Two nuclei."""
    labels = np.zeros(SIZE, np.uint16)
    labels[2:8, 3:9], labels[12:20, 15:22] = first, first + 1
    return labels


def save_labels(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, {"masks": labels})
    else:
        tifffile.imwrite(path, labels, photometric="minisblack")


@pytest.fixture
def raw(tmp_path):
    """Three stacks with label maps."""
    for i in range(3):
        save_stack(tmp_path / f"raw/images/i{i}.ome.tif", planes(i))
        save_labels(tmp_path / f"raw/labels/i{i}_label.tif", label_map())
    return tmp_path / "raw"


@pytest.fixture
def own(tmp_path):
    return partial(OwnData, "mine", test=True, root=tmp_path / "root")


def load(own, split="test"):
    return json.loads((own.folder / f"annotations/instances_{split}.json").read_text())


def copies(own):
    """The files in the folder of copies, by their names without folders."""
    return {path.name: path for path in (own.folder / "planes").rglob("*") if path.is_file()}


def records(own):
    register_datasets(own.folder.parent)
    return DatasetCatalog.get("mine_test")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice("DAPI", 2, 1), lambda stack: stack[1, 1, 2]),
        (Choice(1, "max", 0), lambda stack: stack[0, 1].max(axis=0)),
        (Choice("gfp", "mean", 1), None),
    ],
)
def test_training_sees_what_prediction_reads(raw, own, dtype, choice, expected):
    paths = [raw / f"images/i{i}.ome.tif" for i in range(3)]
    for i, path in enumerate(paths):
        save_stack(path, planes(i, dtype))
    convert_labels(raw / "images", raw / "labels", own(choice=choice))
    assert load(own())["info"]["planes"] == choice.chosen()
    for i, (path, record) in enumerate(zip(paths, records(own()), strict=True)):
        copy = tifffile.imread(record["file_name"])
        assert copy.dtype == dtype
        if expected:
            np.testing.assert_array_equal(copy, expected(planes(i, dtype)))
        for rule in RULES:
            source = open_windows(path, choice, rule)
            predicted = source.read(source.whole())
            np.testing.assert_array_equal(read_image(record["file_name"], rule), predicted)
            plain = ["INPUT.MIN_SIZE_TEST", "0", "INPUT.FORMAT", "RGB", "INPUT.NORMALIZE", rule]
            mapped = NucleusDatasetMapper(load_config(overrides=plain), augment=False)(record)
            np.testing.assert_array_equal(mapped["image"].permute(1, 2, 0), predicted)
        assert len(record["annotations"]) == 2


def test_pages_that_are_read_by_windows(raw, own, monkeypatch):
    monkeypatch.setattr(windows, "WHOLE_PIXELS", 100)
    choice = Choice("DAPI", 0, 0)
    assert isinstance(open_windows(raw / "images/i1.ome.tif", choice), LargePlane)
    convert_labels(raw / "images", raw / "labels", own(choice=choice))
    np.testing.assert_array_equal(tifffile.imread(copies(own())["i1.tif"]), planes(1)[0, 1, 0])


def test_again_gives_the_same_and_nothing_stale_is_left(raw, own, contents):
    before = contents(raw)
    target = own(choice=DAPI_MAX)
    convert_labels(raw / "images", raw / "labels", target)
    first = contents(target.folder)
    assert len(first) == 3 + 3  # JSON, manifest and dataset.yaml
    convert_labels(raw / "images", raw / "labels", target, workers=2)
    assert contents(target.folder) == first

    # files of the user among the copies, and what a killed conversion left
    (theirs,) = {path.parent for path in copies(target).values()}
    tifffile.imwrite(theirs / "theirs.tif", np.zeros((4, 4), np.uint8))
    (theirs / "broken.tif").write_bytes(b"II*\0")
    (target.folder / ".dataset-abcdefgh.yaml").write_text("name")
    (target.folder / ".planes-1").mkdir()
    (target.folder / ".planes-1/a.tif").write_bytes(b"")
    (theirs / "orphan.tif").write_bytes(copies(target)["i0.tif"].read_bytes())
    for path in ("images/i2.ome.tif", "labels/i2_label.tif"):
        (raw / path).rename(raw.parent / Path(path).name)
    convert_labels(raw / "images", raw / "labels", target)
    assert set(copies(target)) == {"i0.tif", "i1.tif", "theirs.tif", "broken.tif"}
    assert not list(target.folder.glob(".*"))

    (theirs / "theirs.tif").unlink()
    (theirs / "broken.tif").unlink()
    convert_labels(raw / "images", raw / "labels", own(choice=Choice(0, 1, 0)))
    assert not theirs.exists() and set(copies(target)) == {"i0.tif", "i1.tif"}
    after = contents(raw)
    assert {name: before[name] for name in after} == after


def test_plain_images_are_used_where_they_lie(raw, own, contents):
    grey, rgb = planes(7)[0, 0, 0], np.moveaxis(planes(8)[0, 0], 0, -1)
    cv2.imwrite(str(raw / "images/grey.png"), grey)
    cv2.imwrite(str(raw / "images/rgb.png"), rgb[..., ::-1])
    for name in ("grey", "rgb"):
        save_labels(raw / f"labels/{name}_label.tif", label_map())
    with pytest.raises(InputError, match=r"rgb\.png: no channel DAPI; its channels are 0 red"):
        convert_labels(raw / "images", raw / "labels", own(choice=DAPI_MAX))
    convert_labels(raw / "images", raw / "labels", own(choice=Choice(1, 0, 0)))
    assert set(copies(own())) == {"i0.tif", "i1.tif", "i2.tif", "rgb.tif"}
    np.testing.assert_array_equal(tifffile.imread(copies(own())["rgb.tif"]), rgb[..., 1])
    assert any(i["file_name"].endswith("raw/images/grey.png") for i in load(own())["images"])

    # without a choice, all plain images are used as they are, and no copy is made
    for path in (raw / "images").glob("*.ome.tif"):
        path.unlink()
        (raw / f"labels/{path.name.split('.')[0]}_label.tif").unlink()
    convert_labels(raw / "images", raw / "labels", own())
    assert load(own())["info"] == {"description": "mine test"}
    assert not (own().folder / "planes").exists()
    assert not any("original" in image for image in load(own())["images"])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(), r"i0.ome.tif: holds 2 channels \(0 GFP, 1 DAPI\); say which shows the nuclei"),
        (
            Choice("DAPI", time=0),
            r"i0.ome.tif: holds 3 depths; choose with --z max, mean or K \(in prediction",
        ),
        (Choice("Cy5", 0, 0), "i0.ome.tif: no channel Cy5; its channels are 0 GFP, 1 DAPI"),
        (Choice("DAPI", 3, 0), "i0.ome.tif: no number 3 among its depths, 0 to 2"),
    ],
)
def test_what_is_not_chosen_or_not_there_writes_nothing(raw, own, capsys, choice, message):
    # the error comes after copies of other images have been written
    if choice.channel is not None:
        for i in (1, 2):
            stack = np.repeat(planes(i), 2, axis=2) if choice.z == 3 else planes(i)
            save_stack(raw / f"images/a{i}.ome.tif", stack)
            save_labels(raw / f"labels/a{i}_label.tif", label_map())
    with pytest.raises(InputError, match=message.replace("i0", r"\w+")):
        convert_labels(raw / "images", raw / "labels", own(choice=choice))
    assert not own().folder.exists()
    assert len([line for line in capsys.readouterr().err.splitlines() if "i0.ome" in line]) == 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"z": "all"}, "--z all: expected one plane of each file, such as --z 0"),
        ({"time": "all"}, "--time all: expected one plane of each file, such as --time 0"),
    ],
)
def test_all_planes_are_refused(own, choice, message):
    with pytest.raises(InputError, match=message):
        own(choice=Choice(**choice))


@pytest.mark.parametrize("suffix", ["_masks.tif", "_seg.npy"])
def test_label_maps_of_all_planes(raw, own, suffix):
    labels = np.array(
        [[label_map(20 * t + 5 * z + 1) for z in range(DEPTHS)] for t in range(TIMES)]
    )
    labels[1, 2] = np.roll(labels[1, 2], 3, axis=1)
    for i in range(3):
        (raw / f"labels/i{i}_label.tif").unlink()
        save_labels(raw / f"labels/i{i}{suffix}", labels)
    convert_labels(raw / "images", raw / "labels", own(choice=Choice(1, 2, 1)))
    annotations = records(own())[0]["annotations"]
    for annotation, number in zip(annotations, (31, 32), strict=True):
        mask = coco_mask.decode(annotation["segmentation"])
        np.testing.assert_array_equal(mask == 1, labels[1, 2] == number)

    message = "a label map for each of 3 depths, of which --z max makes one image; expected one"
    with pytest.raises(InputError, match=message):
        convert_labels(raw / "images", raw / "labels", own(choice=DAPI_MAX))
    # those of each time fit a projection of all depths
    for i in range(3):
        save_labels(raw / f"labels/i{i}{suffix}", labels[:, 2])
    convert_labels(raw / "images", raw / "labels", own(choice=Choice(1, "max", 1)))
    mask = coco_mask.decode(records(own())[0]["annotations"][0]["segmentation"])
    np.testing.assert_array_equal(mask == 1, labels[1, 2] == 31)
    with pytest.raises(InputError, match="found an array of shape"):
        convert_labels(raw / "images", raw / "labels", own(choice=Choice(1, 0, 1)))


def test_a_second_folder_with_the_same_names(raw, own, tmp_path):
    convert_labels(raw / "images", raw / "labels", own(choice=DAPI_MAX))
    # another plane of an image is no new image
    again = own(test=False, val_fraction=0, choice=Choice("DAPI", 0, 0))
    with pytest.raises(InputError, match="3 of the images are in test already"):
        convert_labels(raw / "images", raw / "labels", again)
    for i in range(2):
        save_stack(tmp_path / f"more/i{i}.ome.tif", planes(10 + i))
        save_labels(tmp_path / f"more/i{i}_label.tif", label_map())
    more = own(test=False, val_fraction=0, choice=DAPI_MAX)
    convert_labels(tmp_path / "more", tmp_path / "more", more)
    stored = {
        split: tifffile.imread(own().folder / load(own(), split)["images"][0]["file_name"])
        for split in ("test", "train")
    }
    np.testing.assert_array_equal(stored["test"], planes(0)[0, 1].max(axis=0))
    np.testing.assert_array_equal(stored["train"], planes(10)[0, 1].max(axis=0))


@pytest.mark.parametrize("name", ["i{}", "i{}.ome", "i{}.ome.tif"])
def test_names_of_stacks_in_files_of_splits_and_groups(raw, own, tmp_path, name):
    for split, numbers in (("train", (0, 1)), ("holdout", (2,))):
        (tmp_path / f"{split}.txt").write_text("".join(f"{name.format(i)}\n" for i in numbers))
    rows = [f"{name.format(i)},{'one' if i < 2 else 'other'}" for i in range(3)]
    (tmp_path / "groups.csv").write_text("\n".join(["image,group", *rows]))
    files = tmp_path / "train.txt", tmp_path / "holdout.txt"
    groups = str(tmp_path / "groups.csv")
    target = own(test=False, split_files=files, groups=groups, choice=DAPI_MAX)
    convert_labels(raw / "images", raw / "labels", target)
    found = {split: load(target, split)["images"] for split in ("train", "holdout")}
    assert [Path(image["file_name"]).name for image in found["train"]] == ["i0.tif", "i1.tif"]
    assert len({image["group"] for image in found["train"]}) == len(found["holdout"]) == 1


def test_coco_with_the_same_name_in_two_folders(own, tmp_path):
    names = ["well1/a.ome.tif", "well2/a.ome.tif", "well2/a.tif"]
    for seed, name in enumerate(names):
        save_stack(tmp_path / "images" / name, planes(seed))
    polygon = [[4, 2, 9, 2, 9, 4, 4, 4]]
    content = {
        "categories": [{"id": 1, "name": "nucleus"}],
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": polygon} for i in range(3)
        ],
    }
    (tmp_path / "user.json").write_text(json.dumps(content))
    convert_coco(tmp_path / "user.json", tmp_path / "images", own(choice=DAPI_MAX))
    images = load(own())["images"]
    found = ["/".join(image["file_name"].split("/")[2:]) for image in images]
    # as nucdet-predict names the outputs
    assert found == ["well1/a.tif", "well2/a.ome.tif.tif", "well2/a.tif.tif"]
    for image in images:
        number = names.index(image["original"].split("images/")[1])
        expected = planes(number)[0, 1].max(axis=0)
        np.testing.assert_array_equal(tifffile.imread(own().folder / image["file_name"]), expected)
    with pytest.raises(InputError, match=r"a.ome.tif: holds 2 channels \(0 GFP, 1 DAPI\)"):
        convert_coco(tmp_path / "user.json", tmp_path / "images", own())


class _Stack(Stack):
    """As one of bioio's readers would open a file."""

    def __init__(self, path, scene):
        self.path, self.channels = path, CHANNELS
        self.times, self.depths = TIMES, DEPTHS
        self._planes = planes(int(path.stem[1:]))

    def plane(self, time, channel, z):
        return self._planes[time, channel, z]


def test_files_of_a_microscope(own, tmp_path, monkeypatch):
    monkeypatch.setattr("nucdet.data.io.planes.BioioStack", _Stack)
    for i in range(2):
        save_labels(tmp_path / f"raw/i{i}_masks.tif", label_map())
    (tmp_path / "raw/i0.czi").touch()
    (tmp_path / "raw/i1.zarr").mkdir()
    convert_labels(tmp_path / "raw", tmp_path / "raw", own(choice=DAPI_MAX))
    for i, record in enumerate(records(own())):
        assert record["file_name"].endswith(f"/i{i}.tif") and len(record["annotations"]) == 2
        expected = planes(i)[0, 1].max(axis=0)
        np.testing.assert_array_equal(tifffile.imread(record["file_name"]), expected)


def test_the_choice_is_known_to_training(raw, own, make_truth):
    convert_labels(raw / "images", raw / "labels", own(choice=DAPI_MAX))
    register_datasets(own().folder.parent)
    assert chosen_planes("mine_test") == {"channel": "DAPI", "z": "max", "time": 0}
    make_truth()
    assert chosen_planes("toy_val") == {}
