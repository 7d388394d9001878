"""Which label map belongs to which image, and what is read from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from nucdet.data.conversion.label_files import find_images, pair_files
from nucdet.data.io.label_maps import read_label_map
from nucdet.errors import InputError
from nucdet.export import PlaneNuclei, RoiPlane, write_geojson, write_rois
from nucdet.structures import CroppedMasks

# "Zürich", as macOS and as other systems write it
NFD, NFC = "Zu\u0308rich", "Z\u00fcrich"
# two nuclei that touch, a gap in the numbers
LABELS = np.array([[0, 0, 0, 0], [2, 2, 7, 7], [2, 2, 7, 7]])


def _touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def _names(pairing):
    return {pair.image.name: pair.labels.name for pair in pairing.pairs}


@pytest.mark.parametrize(
    "label",
    [
        "a.png", "a.tif", "a_mask.png", "a_label.tif", "a_labels.png", "a_masks.tif",
        "a_cp_masks.png", "a_seg.npy",
    ],
)  # fmt: skip
def test_each_name_is_found_in_a_folder_of_its_own_and_beside_the_images(tmp_path, label):
    images = _touch(tmp_path / "images", "a.jpg", "notes.txt", ".hidden.png")
    labels = _touch(tmp_path / "labels", label)
    assert _names(pair_files(images, labels)) == {"a.jpg": label}
    if label != "a.png" and label != "a.tif":
        _touch(images, label)
        pairing = pair_files(images, images)
        assert _names(pairing) == {"a.jpg": label} and not pairing.problems


def test_the_mask_of_a_region_is_taken_only_without_a_label_map(tmp_path):
    images = _touch(tmp_path / "images", "a.jpg", "b.jpg")
    labels = _touch(tmp_path / "labels", "a.png", "a_mask.png", "b_mask.png")
    assert _names(pair_files(images, labels)) == {"a.jpg": "a.png", "b.jpg": "b_mask.png"}


def test_a_folder_of_cellpose_takes_the_corrected_masks(tmp_path):
    folder = _touch(
        tmp_path / "cellpose", "a.tif", "a_seg.npy", "a_cp_masks.png", "a_flows.tif", "b.tif",
        "b_seg.npy",
    )  # fmt: skip
    pairing = pair_files(folder, folder)
    assert _names(pairing) == {"a.tif": "a_seg.npy", "b.tif": "b_seg.npy"}
    assert not pairing.problems
    assert len(pairing.remarks) == 1 and "1 images have several label maps" in pairing.remarks[0]
    assert [p.name for p in find_images(folder)[0]] == ["a.tif", "b.tif"]


def test_img_and_masks_of_cellposes_own_data_belong_together(tmp_path):
    folder = _touch(tmp_path / "train", "000_img.png", "000_masks.png")
    assert _names(pair_files(folder, folder)) == {"000_img.png": "000_masks.png"}


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a.png", "a"),
        ("o.ome.tif", "o"),
        ("o.ome.tif", "o.ome"),
        ("b_img.png", "b_img"),
        ("summary.png", "summary.png"),
    ],
)
def test_names_of_predictions_are_found(tmp_path, image, name, beside):
    images = _touch(tmp_path / "images", image)
    outputs = f"{name}_label.tif", f"{name}_overlay.png", f"{name}.csv"
    folder = _touch(images if beside else tmp_path / "results", *outputs)
    pairing = pair_files(images, folder)
    assert _names(pairing) == {image: f"{name}_label.tif"} and not pairing.problems
    assert [file.name for file in find_images(images)[0]] == [image]


def test_images_of_one_stem_are_told_apart_by_whole_names(tmp_path):
    images = _touch(tmp_path / "images", "a.png", "a.jpg", "b.png", "b.jpg")
    names = "a.png_label.tif", "a.jpg_label.tif", "b.png_label.tif", "b_label.tif"
    pairing = pair_files(images, _touch(tmp_path / "results", *names))
    assert _names(pairing) == {"a.png": "a.png_label.tif", "a.jpg": "a.jpg_label.tif"}
    assert [p.what for p in pairing.problems if "same stem" in p.what] == [
        "b.png has the same stem; keep one of them or rename"
    ]


@pytest.mark.parametrize(("image", "label"), [(NFD, NFC), (NFC, NFD)])
def test_names_in_different_forms_of_unicode_belong_together(tmp_path, image, label):
    images = _touch(tmp_path / "images", f"{image}1.png", f"{image}2_img.jpg", f"{image}3.ome.tif")
    names = f"{label}1.png_label.tif", f"{label}2_masks.tif", f"{label}3.ome_masks.tif"
    labels = _touch(tmp_path / "labels", *names)
    pairing = pair_files(images, labels)
    assert [pair.labels.name for pair in pairing.pairs] == [*names] and not pairing.problems
    _touch(images, *names, f"{label}1_overlay.png")
    assert [pair.labels.name for pair in pair_files(images, images).pairs] == [*names]
    assert len(find_images(images)[0]) == 3


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems keep only one of the two")
def test_files_whose_names_look_the_same_are_an_error(tmp_path):
    images = _touch(tmp_path / "images", f"{NFC}.png")
    labels = _touch(tmp_path / "labels", f"{NFD}_label.png", f"{NFC}_label.png")
    with pytest.raises(InputError, match=rf"labels: found {NFD}_label.png twice, .*two forms"):
        pair_files(images, labels)
    _touch(images, f"{NFD}.png")
    with pytest.raises(InputError, match=rf"images: found {NFD}.png twice, .*two forms"):
        find_images(images)


def test_files_of_a_microscope_count_where_nothing_was_exported_from_them(tmp_path):
    folder = _touch(tmp_path / "raw", "a.czi", "b.LIF", "a_masks.tif", "b_seg.npy", "b_overlay.png")
    pairing = pair_files(folder, folder)
    assert _names(pairing) == {"a.czi": "a_masks.tif", "b.LIF": "b_seg.npy"}
    assert not pairing.problems
    assert [file.name for file in find_images(folder)[0]] == ["a.czi", "b.LIF"]
    _touch(folder, "a.tif", "b_dapi.tif", "b_dapi_masks.tif")
    pairing = pair_files(folder, folder)
    assert _names(pairing) == {"a.tif": "a_masks.tif", "b_dapi.tif": "b_dapi_masks.tif"}
    assert not pairing.problems


def test_what_does_not_fit_together_is_listed(tmp_path):
    images = _touch(tmp_path / "images", "a.png", "a.tif", "b.png", "c.png", "d.png")
    labels = _touch(tmp_path / "labels", "a.png", "b.png", "b.tif", "d.png", "e_masks.png")
    pairing = pair_files(images, labels)
    assert _names(pairing) == {"d.png": "d.png"}
    found = [f"{Path(p.where).name}: {p.what}" for p in pairing.problems]
    assert len(found) == 4
    assert found[0].startswith("a.png: a.tif has the same stem")
    assert found[1].startswith("b.png: b.tif is for the same image")
    assert found[2].startswith("c.png: no label map in") and "c.png, .tif or .npy" in found[2]
    assert found[3].startswith("e_masks.png: no image of that name")


def test_folders_that_are_missing_or_empty(tmp_path):
    images = _touch(tmp_path / "images", "a.png")
    empty = _touch(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        pair_files(images, tmp_path / "nowhere")
    with pytest.raises(InputError, match="empty: no label map in it"):
        pair_files(images, empty)
    with pytest.raises(InputError, match="empty: no image in it"):
        find_images(empty)


def test_files_that_lie_only_in_subfolders_are_named(tmp_path):
    images = _touch(tmp_path / "images", ".a.png", "notes.txt")
    for folder in (".cache", "text", "day2", "day1"):
        _touch(images / folder)
    _touch(images / ".cache", "a.png")
    with pytest.raises(InputError, match="images: no image in it; expected files"):
        find_images(images)
    _touch(images / "text", "a.txt")
    _touch(images / "day2", "a.PNG", ".b.png")
    _touch(images / "day1/plate", "a.png", "b.TIF")
    with pytest.raises(InputError) as error:
        find_images(images)
    assert str(error.value) == (
        f"{images}: no image in it, but 2 in its subfolder {images}/day1/plate; only "
        "nucdet-predict searches folders with their subfolders: give that subfolder, or put the "
        "images of all subfolders into one folder, under different names"
    )
    labels = _touch(tmp_path / "labels")
    _touch(labels / "new", "a_seg.npy")
    with pytest.raises(
        InputError, match=r"labels: no label map in it, but 1 in its subfolder .*w;"
    ):
        pair_files(images / "day2", labels)


def test_a_folder_of_masks_for_each_image_is_no_folder_of_label_maps(tmp_path):
    images = _touch(tmp_path / "images", "a.png", "b.png")
    (tmp_path / "masks").mkdir()
    _touch(tmp_path / "masks/a", "1.png", "2.png", "3.png")
    with pytest.raises(InputError, match=r"masks/a with 3 files for one image; expected"):
        pair_files(images, tmp_path / "masks")


@pytest.mark.parametrize("form", ["ImageJ", "QuPath", "QuPath, a list of cells"])
def test_outlines_become_the_label_map_that_the_page_promises(
    tmp_path, repository, monkeypatch, form
):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:9, 3:11], labels[9:15, 3:8], labels[5:6, 20:30] = 1, 2, 3
    labels[3, 10] = 0
    labels[12:18, 20:24], labels[10:12, 26:28] = 4, 4  # a nucleus in two pieces
    masks = CroppedMasks.from_label_map(labels)
    table = pd.DataFrame({"id": [1, 2, 3, 4]})
    write_rois(tmp_path / "a_RoiSet.zip", [RoiPlane(masks)], 4)
    outlines = tmp_path / "a.geojson"
    write_geojson(outlines, [PlaneNuclei(masks, ["nucleus"] * 4, table)])
    if form == "QuPath, a list of cells":
        features = json.loads(outlines.read_text())["features"]
        whole = {"type": "Polygon", "coordinates": [[[0, 0], [30, 0], [30, 20], [0, 20], [0, 0]]]}
        features = [f | {"geometry": whole, "nucleusGeometry": f["geometry"]} for f in features]
        outlines.write_text(json.dumps(features))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    monkeypatch.chdir(tmp_path)
    page = (repository / "datasets/README.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    if form == "ImageJ":
        before, _, after = code.partition("# from QuPath instead")
        code = before + after.partition("\n\n")[2]
    else:
        code = "".join(line for line in code.splitlines(True) if "roiread(" not in line)
    exec(code, {})
    assert np.array_equal(read_label_map("a_labels.tif"), labels)
