"""A user's COCO JSON, with all that such files hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from pycocotools import mask as coco_mask

from nucdet.data.conversion.coco import convert_coco
from nucdet.data.conversion.own_data import OwnData
from nucdet.data.datasets import register_datasets
from nucdet.errors import InputError

# rows 2 and 3, columns 4 to 8 of 20 × 30
POLYGON = [[4, 2, 9, 2, 9, 4, 4, 4]]
PIXELS = np.zeros((20, 30), np.uint8)
PIXELS[2:4, 4:9] = 1
PLAIN_RLE = {"size": [20, 30], "counts": [82, 2, 18, 2, 18, 2, 18, 2, 18, 2, 436]}


def rle(pixels):
    code = coco_mask.encode(np.asfortranarray(pixels))
    return {"size": code["size"], "counts": code["counts"].decode()}


def entry(number, image, category, segmentation, **more):
    return {"id": number, "image_id": image, "category_id": category,
            "segmentation": segmentation, **more}  # fmt: skip


@pytest.fixture
def content():
    """Two images in folders, one without annotations; categories 9 and 4."""
    return {
        "info": {"year": 2020},
        "categories": [{"id": 9, "name": "mitosis"}, {"id": 4, "name": "nucleus"}],
        "images": [
            {"id": 70, "file_name": "day1/a.png", "height": 20, "width": 30},
            {"id": 5, "file_name": "day2/b.png"},
        ],
        "annotations": [
            entry(1, 70, 4, POLYGON, iscrowd=0),
            entry(2, 70, 9, rle(PIXELS[::-1])),
            entry(3, 70, 4, PLAIN_RLE, iscrowd=1),
        ],
    }


@pytest.fixture
def convert(tmp_path, content):
    """Writes images and ``content`` and converts them to the split test of ``mine``."""
    for name in ("day1/a.png", "day2/b.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        noise = np.random.default_rng(len(name)).integers(0, 60, (20, 30), np.uint8)
        cv2.imwrite(str(path), noise)

    def run(**options):
        (tmp_path / "user.json").write_text(json.dumps(content))
        own = OwnData("mine", test=True, root=tmp_path / "root")
        return convert_coco(tmp_path / "user.json", tmp_path / "images", own, **options)

    return run


def test_polygons_rle_crowds_classes_and_gaps_in_their_ids(convert, tmp_path, capsys):
    convert()
    notes = capsys.readouterr().err
    assert "numbered from 1 without gaps: 4 → 1 (nucleus), 9 → 2 (mitosis)" in notes
    assert "1 images have no instance" in notes
    assert "user.json: 1 of 3 annotations have iscrowd 1" in notes
    register_datasets(tmp_path / "root")
    assert MetadataCatalog.get("mine_test").thing_classes == ["nucleus", "mitosis"]
    first, second = DatasetCatalog.get("mine_test")
    assert first["file_name"].endswith("images/day1/a.png") and second["annotations"] == []
    assert [a["category_id"] for a in first["annotations"]] == [0, 1, 0]
    assert [a["iscrowd"] for a in first["annotations"]] == [0, 0, 1]
    for annotation, pixels in zip(
        first["annotations"], [PIXELS, PIXELS[::-1], PIXELS], strict=True
    ):
        np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), pixels)
    assert first["annotations"][0]["bbox"] == [4, 2, 5, 2]
    written = tmp_path / "root/mine/annotations/instances_test.json"
    before = written.read_bytes()
    convert()
    assert written.read_bytes() == before


@pytest.mark.parametrize("name", ["day1\\a.png", "D:\\data\\day1.png"])
def test_file_names_that_windows_wrote(convert, content, tmp_path, name):
    (tmp_path / "images/day1.png").write_bytes((tmp_path / "images/day1/a.png").read_bytes())
    content["images"][0]["file_name"] = name
    convert()
    written = json.loads((tmp_path / "root/mine/annotations/instances_test.json").read_text())
    found = written["images"][0]["file_name"]
    assert found.endswith("images/day1/a.png" if "day1\\" in name else "images/day1.png")


def test_file_names_in_another_form_of_unicode(convert, content, tmp_path, capsys):
    nfd, nfc = "u\u0308", "\u00fc"
    folder = tmp_path / "images" / f"day{nfd}"
    (tmp_path / "images/day1").rename(folder)
    (folder / "a.png").rename(folder / f"{nfc}.png")
    content["images"][0]["file_name"] = f"day{nfc}/{nfd}.png"
    convert()
    written = json.loads((tmp_path / "root/mine/annotations/instances_test.json").read_text())
    (name,) = (e["file_name"] for e in written["images"] if not e["file_name"].endswith("b.png"))
    assert (tmp_path / "root/mine" / name).samefile(folder / f"{nfc}.png")

    content["images"].append({"id": 6, "file_name": f"day{nfd}/{nfc}.png"})
    with pytest.raises(InputError, match="its file is listed twice"):
        convert()
    if sys.platform != "darwin":  # its file systems keep only one of the two
        (folder / f"{nfd}.png").touch()
        with pytest.raises(InputError, match="twice, with its letters in two forms of Unicode"):
            convert()


def test_splits_by_name_where_two_images_share_a_stem(convert, content, tmp_path, capsys):
    for number, folder in enumerate(("day1", "day2"), 1):
        noise = np.random.default_rng(number).integers(60, 90, (20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{folder}/same.png"), noise)
        content["images"].append({"id": number, "file_name": f"{folder}/same.png"})
    (tmp_path / "user.json").write_text(json.dumps(content))
    (tmp_path / "train.txt").write_text("a\nday2/same.png\n")
    (tmp_path / "val.txt").write_text("b.png\nday1/same.png\n")
    files = (tmp_path / "train.txt", tmp_path / "val.txt")
    own = OwnData("mine", split_files=files, root=tmp_path / "root")
    splits = convert_coco(tmp_path / "user.json", tmp_path / "images", own)
    names = {split: {p.file_name for p in images} for split, images in splits.items()}
    assert names["train"] == {f"../../images/{name}" for name in ("day1/a.png", "day2/same.png")}
    assert names["val"] == {f"../../images/{name}" for name in ("day2/b.png", "day1/same.png")}
    assert "2 images share their stem" in capsys.readouterr().err
    (tmp_path / "val.txt").write_text("b\nsame\n")
    with pytest.raises(InputError, match="line 2: names 'same', as 2 images are called"):
        convert_coco(tmp_path / "user.json", tmp_path / "images", own)


def test_folds(convert, content, tmp_path):
    noise = np.random.default_rng(0).integers(60, 90, (20, 30), np.uint8)
    cv2.imwrite(str(tmp_path / "images/day2/b.png"), noise)  # no copy of the other one
    convert()
    own = OwnData("mine", val_fraction=0, folds=2, root=tmp_path / "coco")
    splits = convert_coco(tmp_path / "user.json", tmp_path / "images", own)
    names = {split: {p.file_name[-5:] for p in images} for split, images in splits.items()}
    assert names["train"] == {"a.png", "b.png"}
    assert names["fold0_train"] == names["fold1_val"] and names["fold0_val"] != names["fold1_val"]
    register_datasets(tmp_path / "coco")
    assert MetadataCatalog.get("mine_fold1_val").thing_classes == ["nucleus", "mitosis"]


def test_one_class_of_all(convert, content, tmp_path):
    convert(class_name="nucleus")
    del content["categories"]
    convert(class_name="nucleus")
    register_datasets(tmp_path / "root")
    assert MetadataCatalog.get("mine_test").thing_classes == ["nucleus"]
    [first, _] = DatasetCatalog.get("mine_test")
    assert [a["category_id"] for a in first["annotations"]] == [0, 0, 0]


def _add(segmentation, image=70, category=4):
    return lambda content: content["annotations"].append(entry(4, image, category, segmentation))


def _missing_file(content):
    content["images"][1]["file_name"] = "day2/c.png"


def _other_size(content):
    content["images"][0]["height"] = 21


def _listed_twice(content):
    content["images"].append({"id": 6, "file_name": "day2/b.png"})


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (_add([[1, 1, 5, 5]]), "annotation 4 of a.png: a polygon of 2 points, expected at least 3"),
        (_add([]), "annotation 4 of a.png: no polygon, expected one"),
        (_add([[50, 50, 60, 50, 60, 60]]), "a.png: its polygon covers no pixel"),
        (_add([["x", 2, 3, 4, 5, 6]]), "a.png: segmentation [['x', 2, 3"),
        (_add({"size": [5, 5], "counts": [25]}), "a.png: its RLE is for size [5, 5]"),
        (_add(rle(PIXELS * 0)), "annotation 4 of a.png: its RLE has no pixel"),
        (_add(POLYGON, category=7), "category_id 7 is not in categories; expected one of 4, 9"),
        (_add(POLYGON, image=8), "1 annotations: of image 8, which is not listed"),
        (_missing_file, "image day2/c.png: its file is not in"),
        (_other_size, "a.png: is 20x30 (height x width), but"),
        (_listed_twice, "image day2/b.png: its file is listed twice"),
    ],
)
def test_bad_entries_are_named_in_a_line(convert, content, tmp_path, capsys, spoil, line):
    spoil(content)
    with pytest.raises(InputError, match="1 bad"):
        convert()
    assert not (tmp_path / "root").exists()
    [printed] = [text for text in capsys.readouterr().err.splitlines() if text.startswith("bad:")]
    assert line in printed
    convert(skip_invalid=True)
    assert "left out: " in capsys.readouterr().err


@pytest.mark.parametrize("segmentation", [[], None])
def test_a_nucleus_without_outline_is_no_background(
    convert, content, tmp_path, capsys, segmentation
):
    """Data sets for the detection of boxes contain only such."""
    _add(segmentation)(content)
    convert(skip_invalid=True)
    assert "left out: the image" in capsys.readouterr().err
    written = json.loads((tmp_path / "root/mine/annotations/instances_test.json").read_text())
    assert [Path(image["file_name"]).name for image in written["images"]] == ["b.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "it lists no images"),
        ({"categories": []}, "no categories"),
        ({"categories": [{"id": 4}]}, "name is None"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "have the name 'a'"),
        ({"images": [{"id": 1}]}, "file_name is None"),
        ({"images": [{"id": 1, "file_name": "day1/a.png"}] * 2}, "two images have id 1"),
        ({"annotations": [3]}, "found '3' in annotations"),
    ],
)
def test_files_that_are_no_coco_json(convert, content, tmp_path, change, message):
    content.update(change)
    with pytest.raises(InputError, match=message):
        convert()
    assert not (tmp_path / "root").exists()


def test_a_missing_json_or_folder(tmp_path):
    own = OwnData("mine", root=tmp_path / "root")
    with pytest.raises(FileNotFoundError, match=r"no\.json: no such file"):
        convert_coco(tmp_path / "no.json", tmp_path, own)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        convert_coco(tmp_path / "no.json", tmp_path / "nowhere", own)
