"""Folders as users have them become data sets; each way to be bad is one clear line."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as coco_mask
from skimage.segmentation import find_boundaries

from nucdet.data.conversion.labels import convert_labels
from nucdet.data.conversion.own_data import OwnData
from nucdet.data.datasets import register_datasets
from nucdet.errors import InputError

SIZE = (40, 50)


def label_map(count):
    """Squares of 8 pixels that touch in pairs, with labels 3, 6, 9, …"""
    labels = np.zeros(SIZE, np.uint16)
    for i in range(count):
        y, x = 2 + 12 * (i // 4), 8 * (i % 4) + 6 * (i % 4 // 2)
        labels[y : y + 8, x : x + 8] = 3 * (i + 1)
    return labels


def save_image(path, labels, seed):
    noise = np.random.default_rng(seed).normal(20, 8, labels.shape)
    noise[labels > 0] = 100
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(noise, 0, 255).astype(np.uint8))


def save_labels(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, {"masks": labels, "filename": str(path)})
    elif path.suffix == ".tif":
        tifffile.imwrite(path, labels)
    else:
        Image.fromarray(labels).save(path)


def write_folder(folder, image="images/{}.tif", label="masks/{}.tif", count=10):
    """``count`` images i00, i01, … with 0, 1, 2, 3, 4, 0, … nuclei."""
    for i in range(count):
        labels = label_map(i % 5)
        save_image(folder / image.format(f"i{i:02d}"), labels, i)
        save_labels(folder / label.format(f"i{i:02d}"), labels)
    return folder


@pytest.fixture
def raw(tmp_path):
    return write_folder(tmp_path / "raw")


@pytest.fixture
def own(tmp_path):
    """Makes the options of a data set ``mine`` under ``tmp_path / "root"``."""
    return partial(OwnData, "mine", root=tmp_path / "root")


def load(own, split):
    return json.loads((own.folder / f"annotations/instances_{split}.json").read_text())


def stems(own, split):
    return {image["file_name"].split("/")[-1].split(".")[0] for image in load(own, split)["images"]}


@pytest.mark.parametrize(
    ("image", "label", "folders"),
    [
        ("images/{}.tif", "masks/{}.tif", ("images", "masks")),  # StarDist
        ("train/{}.png", "train/{}_seg.npy", ("train", "train")),  # cellpose
        ("train/{}_img.png", "train/{}_masks.png", ("train", "train")),
    ],
)
def test_every_nucleus_keeps_its_pixels(tmp_path, own, image, label, folders):
    raw = write_folder(tmp_path / "raw", image, label)
    images, labels = (raw / folder for folder in folders)
    convert_labels(images, labels, own(val_fraction=0.3))
    register_datasets(tmp_path / "root")
    assert MetadataCatalog.get("mine_train").thing_classes == ["nucleus"]
    records = DatasetCatalog.get("mine_train") + DatasetCatalog.get("mine_val")
    assert len(records) == 10 and len(DatasetCatalog.get("mine_val")) == 3
    for record in records:
        number = int(record["file_name"].split("/")[-1][1:3])
        assert cv2.imread(record["file_name"]).shape[:2] == SIZE
        expected = label_map(number % 5)
        assert len(record["annotations"]) == number % 5
        for i, annotation in enumerate(record["annotations"]):
            mask = coco_mask.decode(annotation["segmentation"])
            np.testing.assert_array_equal(mask == 1, expected == 3 * (i + 1))


def test_again_gives_the_same_bytes_for_any_number_of_workers(raw, own):
    target = own(val_fraction=0.3)
    files = [*(target.folder / f"annotations/instances_{s}.json" for s in ("train", "val"))]
    files.append(target.folder / "dataset.yaml")
    convert_labels(raw / "images", raw / "masks", target)
    first = [file.read_bytes() for file in files]
    convert_labels(raw / "images", raw / "masks", target, workers=2)
    assert [file.read_bytes() for file in files] == first
    assert yaml.safe_load(first[-1]) == {
        "name": "mine",
        "classes": ["nucleus"],
        "splits": ["train", "val"],
    }


def test_images_alone_and_all_as_test(raw, own, capsys):
    convert_labels(raw / "images", None, own(test=True), class_name="cell")
    assert len(load(own(), "test")["images"]) == 10
    assert load(own(), "test")["annotations"] == []
    assert "have no ground truth" in capsys.readouterr().err
    convert_labels(raw / "images", raw / "masks", own(test=True), class_name="cell")
    assert len(load(own(), "test")["annotations"]) == 20
    assert load(own(), "test")["categories"] == [{"id": 1, "name": "cell"}]


def test_images_in_subfolders_are_not_left_out_without_a_word(raw, own, capsys):
    images = raw / "images"
    (raw / "masks").rename(images / "masks")
    for name in ("results/i00_overlay.png", "results/i01_label.tif", ".cache/i90.tif"):
        save_image(images / name, label_map(0), 0)
    convert_labels(images, images / "masks", own(test=True))
    assert "of subfolders" not in capsys.readouterr().err
    save_image(images / "plate 2/i10.tif", label_map(3), 10)
    convert_labels(images, images / "masks", own(test=True))
    assert f"not converted, such as {images}/plate 2/i10.tif" in capsys.readouterr().err
    (images / "masks").rename(raw / "masks")
    convert_labels(images, None, own(test=True))
    assert f"not converted, such as {images}/plate 2/i10.tif" in capsys.readouterr().err


def test_splits_by_files(raw, own, tmp_path, capsys):
    (tmp_path / "train.txt").write_text("i00.tif\ni01\n\nimages/i02.tif\n")
    (tmp_path / "holdout.txt").write_text("i03\n")
    target = own(split_files=(tmp_path / "train.txt", tmp_path / "holdout.txt"))
    convert_labels(raw / "images", raw / "masks", target)
    assert stems(target, "train") == {"i00", "i01", "i02"}
    assert stems(target, "holdout") == {"i03"}
    notes = capsys.readouterr().err
    assert "6 images are in no file of --split" in notes and "belong together" not in notes
    convert_labels(raw / "images", raw / "masks", replace(target, groups="^i0"))
    assert "i03.tif belong together" in capsys.readouterr().err
    register_datasets(tmp_path / "root")
    assert len(DatasetCatalog.get("mine_holdout")) == 1

    (tmp_path / "holdout.txt").write_text("i99\ni00\n")
    with pytest.raises(InputError, match="2 bad"):
        convert_labels(raw / "images", raw / "masks", target)
    error = capsys.readouterr().err
    assert "holdout.txt, line 1: names 'i99', as 0 images are called; expected one" in error
    assert "holdout.txt, line 2: names 'i00', which is in train already" in error


def test_folds_hold_out_every_image_once_and_part_no_group(raw, own):
    target = own(val_fraction=0.2, folds=3)
    convert_labels(raw / "images", raw / "masks", target)
    everything = stems(target, "train") | stems(target, "val")
    held_out = [stems(target, f"fold{k}_val") for k in range(3)]
    assert sorted(map(len, held_out)) == [3, 3, 4] and set.union(*held_out) == everything
    for k in range(3):
        assert stems(target, f"fold{k}_train") == everything - held_out[k]
    register_datasets(target.root)
    assert len(DatasetCatalog.get("mine_fold2_train")) == 10 - len(held_out[2])
    files = sorted((target.folder / "annotations").iterdir())
    before = [file.read_bytes() for file in files]
    convert_labels(raw / "images", raw / "masks", target)
    assert [file.read_bytes() for file in files] == before

    convert_labels(raw / "images", raw / "masks", replace(target, groups="^(i)0[0-4]|"))
    together = {f"i0{i}" for i in range(5)}
    assert sorted(len(stems(target, f"fold{k}_val") & together) for k in range(3)) == [0, 0, 5]


def test_folds_leave_out_the_images_of_test(raw, own, tmp_path):
    for split, numbers in {"train": range(5), "val": (5, 6), "test": (7, 8)}.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(f"i{i:02d}" for i in numbers))
    files = tuple(tmp_path / f"{split}.txt" for split in ("train", "val", "test"))
    target = own(split_files=files, folds=2)
    convert_labels(raw / "images", raw / "masks", target)
    held_out = [stems(target, f"fold{k}_val") for k in range(2)]
    assert set.union(*held_out) == {f"i{i:02d}" for i in range(7)}
    assert not set.intersection(*held_out)


def test_folds_of_images_that_are_converted_again_are_removed(raw, own, tmp_path, capsys):
    def splits():
        files = (own().folder / "annotations").glob("instances_*.json")
        found = sorted(file.stem.removeprefix("instances_") for file in files)
        assert yaml.safe_load((own().folder / "dataset.yaml").read_text())["splits"] == found
        manifest = json.loads((own().folder / "annotations/conversion.json").read_text())
        assert sorted(manifest["files"]) == [f"instances_{split}.json" for split in found]
        return [split for split in found if split.endswith("_val") or "_" not in split]

    convert_labels(raw / "images", raw / "masks", own(val_fraction=0.2, folds=4))
    other = write_folder(tmp_path / "other", "test/x{}.png", "test/x{}_masks.png", count=2)
    convert_labels(other / "test", other / "test", own(test=True))
    assert splits() == [*(f"fold{k}_val" for k in range(4)), "test", "train", "val"]
    with pytest.raises(InputError, match="of the images are in train already"):
        convert_labels(raw / "images", raw / "masks", own(test=True))
    convert_labels(raw / "images", raw / "masks", own(val_fraction=0.2, folds=3))
    assert splits() == [*(f"fold{k}_val" for k in range(3)), "test", "train", "val"]
    assert "removed" not in capsys.readouterr().err
    convert_labels(raw / "images", raw / "masks", own(val_fraction=0.2))
    assert splits() == ["test", "train", "val"]
    assert "note: removed the folds of mine" in capsys.readouterr().err


@pytest.mark.parametrize("as_csv", [False, True])
def test_groups_stay_on_one_side(raw, own, tmp_path, as_csv):
    # i00 and i05, i01 and i06, …
    rule = "."
    if as_csv:
        rule = str(tmp_path / "groups.csv")
        rows = [f"i{i:02d},{i % 5}" for i in range(9)] + ["i09.tif,4"]
        (tmp_path / "groups.csv").write_text("\n".join(["image,group", *rows]))
    else:
        for folder in ("images", "masks"):
            for i in range(10):
                file = raw / folder / f"i{i:02d}.tif"
                file.rename(raw / folder / f"p{i % 5}_{i}.tif")
        rule = r"^(p\d)_"
    for seed in range(3):
        target = own(val_fraction=0.4, groups=rule, seed=seed)
        convert_labels(raw / "images", raw / "masks", target)
        val = [int(stem[1:] if as_csv else stem.split("_")[1]) for stem in stems(target, "val")]
        assert len(val) == 4
        assert {i % 5 for i in val if i < 5} == {i % 5 for i in val if i >= 5}


@pytest.mark.parametrize("as_csv", [False, True])
def test_lists_may_be_in_another_form_of_unicode_than_the_files(raw, own, tmp_path, as_csv):
    nfd, nfc = "u\u0308", "\u00fc"
    for folder, letter in (("images", nfd), ("masks", nfc)):
        for i in range(10):
            letter = (nfd, nfc)[i % 2] if folder == "images" else letter
            (raw / folder / f"i{i:02d}.tif").rename(raw / folder / f"{letter}{i % 3}_{i}.tif")
    rule = f"^({nfc}.)"
    if as_csv:
        rule = str(tmp_path / "groups.csv")
        rows = [f"{nfc}{i % 3}_{i}{'.tif' if i < 5 else ''},{(nfd, nfc)[i % 2]}" for i in range(10)]
        (tmp_path / "groups.csv").write_text("\n".join(["image,group", *rows]))
    target = own(val_fraction=0, groups=rule)
    convert_labels(raw / "images", raw / "masks", target)
    groups = {
        image["file_name"].split("_")[-1]: image["group"]
        for image in load(target, "train")["images"]
    }
    assert len(groups) == 10 and len(set(groups.values())) == (1 if as_csv else 3)
    if not as_csv:
        assert len({groups[f"{i}.tif"] for i in (0, 3, 6, 9)}) == 1

    (tmp_path / "first.txt").write_text(f"{nfc}0_0\n{nfd}1_1.tif\n", encoding="utf-8")
    (tmp_path / "second.txt").write_text(f"images/{nfc}2_2.tif\n", encoding="utf-8")
    files = (tmp_path / "first.txt", tmp_path / "second.txt")
    target = replace(own(split_files=files), name="other")
    splits = convert_labels(raw / "images", raw / "masks", target)
    assert {split: len(images) for split, images in splits.items()} == {"first": 2, "second": 1}


def test_images_in_no_group_or_in_two(raw, own, tmp_path, capsys):
    file = tmp_path / "groups.csv"
    file.write_text("image,group\ni00,a\ni01,a\ni02.TIF,a\n")
    convert_labels(raw / "images", raw / "masks", own(groups=str(file)))
    assert f"8 images are in no group of --groups, {raw}/images/i02.tif" in capsys.readouterr().err
    file.write_text("image,group\ni00,a\ni01,a\ni00,b\n")
    with pytest.raises(InputError, match="line 4: i00 is in the groups a and b; expected one"):
        convert_labels(raw / "images", raw / "masks", own(groups=str(file)))


@pytest.mark.parametrize("seed", range(8))
def test_val_gets_its_share_of_images_without_nuclei(raw, own, seed):
    for i in (1, 2):
        save_labels(raw / f"masks/i{i:02d}.tif", label_map(0))  # now 4 of 10 are empty
    target = own(val_fraction=0.3, seed=seed)
    convert_labels(raw / "images", raw / "masks", target)
    val = load(target, "val")
    empty = {image["id"] for image in val["images"]} - {a["image_id"] for a in val["annotations"]}
    assert (len(val["images"]), len(empty)) == (3, 1)


def test_images_without_the_part_of_a_regular_expression_are_in_no_group(raw, own):
    target = own(val_fraction=0.3, groups=r"^(i0[0-3])?")
    convert_labels(raw / "images", raw / "masks", target)
    groups = {image["file_name"]: image.get("group") for image in _images(target)}
    assert len(set(groups.values())) == 10
    assert len(stems(target, "val")) == 3


def _images(own):
    return [image for split in ("train", "val") for image in load(own, split)["images"]]


def _without_background(labels):
    return labels + 1


def _watershed(labels):
    """Background 1, and lines of 0 around the nuclei, as of ImageJ and scikit-image."""
    return np.where(find_boundaries(labels, mode="outer"), 0, labels + 1).astype(labels.dtype)


def _inverted(labels):
    return np.where(labels, 0, 255).astype(np.uint8)


def _shared_number(labels):
    labels = labels.copy()
    labels[30:34, 40:48] = labels.max()  # half of the square's area
    return labels


def _stray_pixel(labels):
    labels = labels.copy()
    labels[30, 40] = labels.max()
    return labels


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (_without_background, "have no pixel 0, so that their background becomes a nucleus"),
        (_watershed, "contain a number that reaches all four edges of the image"),
        (_inverted, "contain a number that reaches all four edges of the image"),
        (_shared_number, "contain a number that several pieces share"),
        (_stray_pixel, ""),
    ],
)
def test_doubtful_labels_are_converted_with_a_note(raw, own, capsys, change, note):
    for i in (6, 8):
        save_labels(raw / f"masks/i{i:02d}.tif", change(label_map(i % 5)))
    convert_labels(raw / "images", raw / "masks", own())
    notes = capsys.readouterr().err
    assert ("the labels of" in notes) == bool(note)
    if note:
        assert f"the labels of 2 images, {raw}/images/i06.tif for one, {note}" in notes


def test_two_folders_make_one_data_set_and_no_image_is_in_two_splits(raw, own, tmp_path):
    convert_labels(raw / "images", raw / "masks", own(val_fraction=0.0))
    other = write_folder(tmp_path / "other", "test/x{}.png", "test/x{}_masks.png", count=2)
    convert_labels(other / "test", other / "test", own(test=True))
    register_datasets(tmp_path / "root")
    assert len(DatasetCatalog.get("mine_train")) == 10
    assert len(DatasetCatalog.get("mine_test")) == 2
    with pytest.raises(InputError, match="10 of the images are in train already"):
        convert_labels(raw / "images", raw / "masks", own(test=True))
    with pytest.raises(InputError, match="has the classes nucleus in train, not cell"):
        convert_labels(other / "test", other / "test", own(test=True), class_name="cell")
    assert len(load(own(), "test")["images"]) == 2


def test_images_under_a_linked_root_are_found(raw, tmp_path):
    (tmp_path / "deep/er/datasets").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er/datasets")
    convert_labels(raw / "images", raw / "masks", OwnData("mine", root=tmp_path / "link"))
    register_datasets(tmp_path / "link")
    for record in DatasetCatalog.get("mine_train"):
        assert cv2.imread(record["file_name"]) is not None


def _other_size(raw):
    save_labels(raw / "masks/i01.tif", np.zeros((50, 40), np.uint16))


def _color(raw):
    (raw / "masks/i01.tif").unlink()
    save_labels(raw / "masks/i01.png", np.zeros((*SIZE, 3), np.uint8))


def _no_labels(raw):
    (raw / "masks/i01.tif").unlink()


def _same_stem(raw):
    save_image(raw / "images/i01.png", label_map(1), 1)


def _foreground(raw):
    squares = np.zeros(SIZE, np.uint8)
    squares[2::10, 2::10] = 255
    save_labels(raw / "masks/i01.tif", squares)


def _grey_values(raw):
    """An image instead of its label map."""
    save_labels(raw / "masks/i01.tif", np.random.default_rng(0).poisson(200, SIZE).astype("u2"))


def _damaged(raw):
    (raw / "images/i01.tif").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "where", "message"),
    [
        (_other_size, "masks/i01.tif", "50x40 pixels (height x width), but its image has 40x50"),
        (_color, "masks/i01.png", "in color (3 channels); expected a label map"),
        (_no_labels, "images/i01.tif", "no label map in"),
        (_same_stem, "images/i01.png", "i01.tif has the same stem"),
        (_foreground, "masks/i01.tif", "1 labels in 20 separate pieces: a mask of kinds of pixels"),
        (_grey_values, "masks/i01.tif", "numbers are scattered over the whole image, as grey"),
        (_damaged, "images/i01.tif", "the file is empty"),
    ],
)
def test_bad_files_are_named_in_a_line_and_left_out_on_request(
    raw, own, capsys, spoil, where, message
):
    spoil(raw)
    (raw / "masks/i02.tif").write_text("no labels")
    with pytest.raises(InputError, match=r"2 bad.*nothing was written"):
        convert_labels(raw / "images", raw / "masks", own())
    assert not own().folder.exists()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bad: ")]
    assert len(lines) == 2
    [line] = [line for line in lines if where in line.split(": ")[1]]
    assert message in line

    convert_labels(raw / "images", raw / "masks", own(), skip_invalid=True)
    assert "left out: the image" in capsys.readouterr().err
    found = stems(own(), "train") | stems(own(), "val")
    assert found == {f"i{i:02d}" for i in range(10)} - {"i01", "i02"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my data"}, "--name 'my data': expected letters"),
        ({"name": "dsb2018"}, "'dsb2018': nucdet or Detectron2 has one of that name"),
        ({"name": "livecell_types"}, "has one of that name"),
        ({"name": "coco_2017", "val_fraction": 0.2}, "has one of that name"),
        ({"val_fraction": 1.0}, "less than 1"),
        ({"val_fraction": 0.01}, "no image is left for the split val"),
        ({"folds": 1}, "--folds 1: expected 2 or more"),
        ({"folds": 11}, "choose fewer --folds"),
        ({"folds": 3, "test": True}, "--folds 3: all images become the split test"),
        ({"groups": "(p"}, "no regular expression"),
        ({"groups": "^p"}, "does not match the stem of 10 images, i00.tif for one"),
    ],
)
def test_options_that_cannot_be(raw, tmp_path, options, message):
    with pytest.raises(InputError) as error:
        target = OwnData(**{"name": "mine", "root": tmp_path / "root", **options})
        convert_labels(raw / "images", raw / "masks", target)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "root").exists()
