"""LIVECell's layout from small images; rectangles, so that every pixel is known."""

import json

import numpy as np
import pytest
import tifffile
from detectron2.data import DatasetCatalog, MetadataCatalog

from nucdet.data.conversion.livecell import convert_livecell
from nucdet.data.datasets import register_datasets
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

HEIGHT, WIDTH = 30, 40


def polygon(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


class Release:
    """The official files under ``root``: images by split, annotations of one cell each."""

    def __init__(self, root):
        self.root = root
        self.content = {}

    def add(self, split, name, polygons, folder=""):
        """An image with a cell for each entry of ``polygons`` (segmentations, as they are)."""
        content = self.content.setdefault(split, {"info": {}, "images": [], "annotations": []})
        kind = "livecell_test_images" if split == "test" else "livecell_train_val_images"
        path = self.root / "images" / kind / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(name)).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
        tifffile.imwrite(path, pixels, compression="lzw")
        image_id = 100 - len(content["images"])
        image = {"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH}
        content["images"].append(image)
        for segmentation in polygons:
            annotation = {"id": 1000 + len(content["annotations"]), "image_id": image_id}
            annotation |= {"segmentation": segmentation, "iscrowd": 0, "category_id": 1}
            content["annotations"].append(annotation)
        return path

    def write(self, folder=""):
        for split, content in self.content.items():
            path = self.root / folder / f"livecell_coco_{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        return self

    def result(self, split):
        return json.loads((self.root / "annotations" / f"instances_{split}.json").read_text())


@pytest.fixture
def release(tmp_path):
    release = Release(tmp_path / "livecell")
    release.add("train", "A172_Phase_1.tif", [[polygon(2, 3, 6, 4)], [polygon(20, 10, 5, 5)]])
    release.add("train", "BV2_Phase_1.tif", [[polygon(0, 0, 3, 3)]])
    release.add("val", "Huh7_Phase_1.tif", [[polygon(1, 1, 4, 4)]], folder="Huh7")
    release.add("test", "A172_Phase_2.tif", [[polygon(5, 5, 5, 5)]])
    return release


def test_cells_become_exactly_the_pixels_of_their_polygons(release):
    counts = convert_livecell(release.write().root)
    assert counts == {
        "train": (2, 3), "a172_train": (1, 2), "bv2_train": (1, 1),
        "val": (1, 1), "huh7_val": (1, 1), "test": (1, 1), "a172_test": (1, 1),
    }  # fmt: skip
    content = release.result("train")
    assert content["categories"] == [{"id": 1, "name": "cell"}]
    first = content["images"][0]
    assert first == {
        "id": 1, "file_name": "images/livecell_train_val_images/A172_Phase_1.tif",
        "height": HEIGHT, "width": WIDTH, "kind": "a172",
    }  # fmt: skip
    cells = [a for a in content["annotations"] if a["image_id"] == 1]
    masks = CroppedMasks.from_coco_rle([a["segmentation"] for a in cells], (HEIGHT, WIDTH))
    expected = np.zeros((2, HEIGHT, WIDTH), bool)
    expected[0, 3:7, 2:8] = expected[1, 10:15, 20:25] = True
    assert (np.asarray(masks) == expected).all()
    assert [(a["bbox"], a["area"]) for a in cells] == [([2, 3, 6, 4], 24), ([20, 10, 5, 5], 25)]
    [val] = release.result("val")["images"]
    assert val["file_name"] == "images/livecell_train_val_images/Huh7/Huh7_Phase_1.tif"


def test_the_same_release_gives_the_same_bytes_and_the_order_of_images_does_not_matter(release):
    convert_livecell(release.write().root)
    path = release.root / "annotations" / "instances_train.json"
    before = path.read_bytes()
    release.content["train"]["images"].reverse()
    convert_livecell(release.write("annotations/LIVECell").root)
    (release.root / "livecell_coco_train.json").unlink()
    convert_livecell(release.root)
    assert path.read_bytes() == before


@pytest.mark.parametrize("order", [("images", "annotations"), ("annotations", "images")])
def test_annotations_may_be_an_object_and_come_first(release, order):
    convert_livecell(release.write().root)
    path = release.root / "annotations" / "instances_train.json"
    before = path.read_bytes()
    content = release.content["train"]
    content["annotations"] = {str(a["id"]): a for a in content["annotations"]}
    release.content["train"] = {key: content[key] for key in order}
    convert_livecell(release.write().root)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "written",
    [
        lambda p: [[str(v) for v in p]],
        lambda p: json.dumps([p]),
        lambda p: [" ".join(map(str, p))],
        lambda p: [json.dumps(p)],
        lambda p: p,
        lambda p: ",".join(map(str, p)),
        lambda p: [p, polygon(0, 0, 1, 1)[:4]],
    ],
    ids=["numbers", "all", "words", "part", "flat", "commas", "short second part"],
)
def test_polygons_may_be_text(release, written):
    release.content["test"]["annotations"][0]["segmentation"] = written(polygon(5, 5, 5, 5))
    convert_livecell(release.write().root, skip_invalid=True)
    [cell] = release.result("test")["annotations"]
    assert cell["bbox"] == [5, 5, 5, 5] and cell["area"] == 25


def test_types_as_classes(release):
    counts = convert_livecell(release.write().root, by_type=True)
    assert list(counts) == ["types_train", "types_val", "types_test"]
    content = release.result("types_train")
    names = {c["id"]: c["name"] for c in content["categories"]}
    kinds = {image["id"]: image["kind"] for image in content["images"]}
    assert len(names) == 8
    for annotation in content["annotations"]:
        assert names[annotation["category_id"]] == kinds[annotation["image_id"]]


def test_jsons_of_single_types_are_used_where_they_are(release):
    release.write()
    single = release.content["train"] | {"images": release.content["train"]["images"][:1]}
    single["annotations"] = single["annotations"][:1]
    path = release.root / "annotations/LIVECell_single_cells/a172/train.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(single))
    counts = convert_livecell(release.root)
    assert counts["a172_train"] == (1, 1) and counts["train"] == (2, 3)
    assert counts["bv2_train"] == (1, 1)


def test_images_without_cells_and_crowds_stay(release):
    release.add("test", "SKOV3_Phase_1.tif", [])
    release.content["test"]["annotations"][0]["iscrowd"] = 1
    counts = convert_livecell(release.write().root)
    assert counts["test"] == (2, 1) and counts["skov3_test"] == (1, 0)
    assert release.result("test")["annotations"][0]["iscrowd"] == 1


def test_what_was_converted_loads_from_the_catalog(release):
    convert_livecell(release.write().root)
    convert_livecell(release.root, by_type=True)
    register_datasets(release.root.parent)
    assert len(DatasetCatalog.get("livecell_train")) == 2
    assert len(DatasetCatalog.get("livecell_bv2_train")) == 1
    [record] = DatasetCatalog.get("livecell_types_val")
    assert MetadataCatalog.get("livecell_types_val").thing_classes[3] == "huh7"
    assert record["annotations"][0]["category_id"] == 3


def fails_with(release, message, capsys):
    """Conversion fails, names it, and leaves nothing behind; then what --skip-invalid gives."""
    with pytest.raises(InputError, match=message):
        convert_livecell(release.write().root)
    annotations = release.root / "annotations"
    assert not annotations.exists() or not list(annotations.iterdir())
    capsys.readouterr()
    counts = convert_livecell(release.root, skip_invalid=True)
    assert "left out: " in capsys.readouterr().err
    return counts


def cell(release, index=0):
    return release.content["train"]["annotations"][index]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([polygon(-20, 5, 5, 5)], "annotation 1000 of A172_Phase_1.tif: its polygon covers no pix"),
        ([polygon(5, 31, 5, 5)], "covers no pixel"),
        ([[1, 1, 5, 5]], "a polygon of 2 points, expected at least 3"),
        ([], "no polygon, expected one"),
    ],
)
def test_a_polygon_that_says_nothing_costs_only_itself(release, capsys, segmentation, message):
    cell(release)["segmentation"] = segmentation
    assert fails_with(release, message, capsys)["train"] == (2, 2)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 5, 5, "x", 7]], "expected x and y in turn"),
        ("[[1, 1, 5, 5, 3, NaN]]", "all finite"),
        ([[1, 1, 5, 5, 3, 7, 9]], "x and y of at least 3 points"),
        ("[[1, 2", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        (None, "expected polygons or RLE"),
        ({"size": [3, 3], "counts": [9]}, "its RLE is for size"),
    ],
)
def test_a_cell_that_cannot_be_known_costs_its_image(release, capsys, segmentation, message):
    cell(release)["segmentation"] = segmentation
    assert fails_with(release, message, capsys)["train"] == (1, 1)


def test_polygons_over_the_edge_are_cut_off_there(release, capsys):
    cell(release)["segmentation"] = [polygon(36, 27, 10, 10)]
    convert_livecell(release.write().root)
    assert "1 cells reach over the edge" in capsys.readouterr().err
    assert release.result("train")["annotations"][0]["bbox"] == [36, 27, 4, 3]


def test_a_missing_image_is_bad_unless_allowed(release, capsys):
    (release.root / "images/livecell_train_val_images/A172_Phase_1.tif").unlink()
    counts = fails_with(release, "image A172_Phase_1.tif: its file is not there", capsys)
    assert counts["train"] == (1, 1)
    assert convert_livecell(release.root, allow_missing=True) == counts
    assert "image A172_Phase_1.tif: not there, left out" in capsys.readouterr().err


def test_annotations_of_unlisted_images_are_bad_unless_allowed(release, capsys):
    cell(release)["image_id"] = 5
    assert fails_with(release, "annotation 1000: of image 5", capsys)["train"] == (2, 2)
    convert_livecell(release.root, allow_missing=True)
    assert "1 annotations of images that it does not list" in capsys.readouterr().err


def test_a_json_cut_in_half_costs_its_split(release, capsys):
    release.write()
    path = release.root / "livecell_coco_train.json"
    release.content.pop("train")
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    counts = fails_with(release, r"livecell_coco_train\.json: cut off or not a COCO JSON", capsys)
    assert "train" not in counts and counts["val"] == (1, 1)


@pytest.mark.parametrize("empty", [[], {}])
def test_an_empty_annotations_list_costs_its_split(release, capsys, empty):
    release.content["train"]["annotations"] = empty
    assert "train" not in fails_with(release, "it has no annotations", capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(height=31), r"stated as 31x40 .* is 30x40"),
        (lambda i: i.update(id=99), "two images have id 99"),
        (lambda i: i.update(file_name="BV2_Phase_1.tif"), "is listed 2 times"),
        (lambda i: i.pop("width"), "width is None; expected a whole number of pixels"),
        (lambda i: i.update(id=[1]), r"id is \[1\] in .*; expected a whole number"),
        (lambda i: i.pop("file_name"), "file_name is None, no text"),
    ],
)
def test_bad_image_entries(release, capsys, change, message):
    change(release.content["train"]["images"][0])
    fails_with(release, message, capsys)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": [1]}, r"image_id is \[1\] in .*; expected a whole number"),
        ({"id": 7}, "expected an object with image_id"),
        ("text", "expected an object with image_id"),
    ],
)
def test_an_annotation_without_the_id_of_an_image_costs_its_json(
    release, capsys, annotation, message
):
    release.content["train"]["annotations"][0] = annotation
    assert "train" not in fails_with(release, message, capsys)


def test_a_damaged_image_and_an_unknown_type_are_named(release, capsys):
    path = release.add("test", "MCF7_Phase_1.tif", [[polygon(1, 1, 5, 5)]])
    path.write_bytes(path.read_bytes()[:200])
    release.add("test", "HeLa_Phase_1.tif", [[polygon(1, 1, 5, 5)]])
    with pytest.raises(InputError, match="2 bad"):
        convert_livecell(release.write().root)
    listed = capsys.readouterr().err
    assert "MCF7_Phase_1.tif: damaged" in listed and "cell type 'hela'" in listed


def test_a_folder_that_is_no_livecell(tmp_path, release):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        convert_livecell(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no livecell_coco_\*\.json"):
        convert_livecell(tmp_path)
    release.write()
    for path in release.root.rglob("*.tif"):
        path.unlink()
    with pytest.raises(InputError, match="none of the images"):
        convert_livecell(release.root, allow_missing=True)


def test_two_files_of_one_name(release):
    release.add("train", "A172_Phase_1.tif", [], folder="A172")
    with pytest.raises(InputError, match="same name"):
        convert_livecell(release.write().root)
