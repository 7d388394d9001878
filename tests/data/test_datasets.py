from __future__ import annotations

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from nucdet.data.dataset_info import DATASET_FILE, DatasetInfo, write_dataset_file
from nucdet.data.datasets import (
    check_datasets,
    class_names,
    register_coco_json,
    register_datasets,
    shared_images,
)
from nucdet.errors import InputError


def test_registering_reads_no_file_and_may_be_repeated(tmp_path):
    register_datasets(tmp_path / "nowhere")
    register_datasets(tmp_path)
    for name in ("dsb2018_fold9_val", "dsb2018_without_bright_field", "synthetic_train"):
        assert name in DatasetCatalog
    metadata = MetadataCatalog.get("dsb2018_train")
    assert metadata.thing_classes == ["nucleus"]
    assert metadata.json_file == str(tmp_path / "dsb2018/annotations/instances_train.json")


def test_the_root_is_the_environments(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_datasets()
    assert MetadataCatalog.get("dsb2018_val").image_root == str(tmp_path / "dsb2018")


def test_loading_gives_detectron2s_dicts(registered):
    dicts = DatasetCatalog.get("synthetic_train")
    assert len(dicts) == 8
    first = dicts[0]
    assert first["file_name"].startswith(str(registered))
    assert {a["category_id"] for d in dicts for a in d["annotations"]} == {0}


def test_images_that_are_trained_and_scored_on_are_known_by_their_files(tmp_path):
    """Under whatever name, and whichever of their planes."""
    names = {
        "a_train": ["../raw/1.tif", "planes/z-0/2.tif"],
        "b_train": ["../raw/3.tif"],
        "c_val": ["../raw/4.tif", "planes/z-1/2.tif", "../c/../raw/3.tif"],
    }
    for name, files in names.items():
        images = [{"id": number, "file_name": file} for number, file in enumerate(files, 1)]
        for image in images:
            if image["file_name"].startswith("planes"):
                image["original"] = "../raw/2.tif"
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"images": images, "annotations": []}))
        register_coco_json(name, path, tmp_path / name[0])
    shared = shared_images(["a_train", "b_train"], "c_val")
    assert shared == [str(tmp_path / "raw/2.tif"), str(tmp_path / "raw/3.tif")]
    assert shared_images(["b_train"], "a_train") == []


def test_a_missing_json_says_how_to_make_it(tmp_path):
    register_datasets(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"instances_train\.json.*nucdet-convert dsb"):
        DatasetCatalog.get("dsb2018_train")
    with pytest.raises(FileNotFoundError, match="--kinds"):
        DatasetCatalog.get("dsb2018_only_bright_field")


def test_a_json_cut_in_half_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [], "annotations": []})[:-5])
    register_coco_json("halved", path, tmp_path)
    with pytest.raises(InputError, match=r"a\.json: not a COCO JSON"):
        DatasetCatalog.get("halved")


@pytest.mark.parametrize("names", [["cell"], ["b", "a"]])
def test_other_names_of_categories_are_told(tmp_path, names):
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    register_coco_json("renamed", path, tmp_path, ["a", "b"][: len(names)])
    found, known = ", ".join(names), ", ".join(["a", "b"][: len(names)])
    with pytest.raises(InputError, match=rf"a\.json: found the categories {found},.*es {known} of"):
        DatasetCatalog.get("renamed")


def test_unregistered_names_are_an_error_that_lists_ours():
    with pytest.raises(InputError, match=r"'dsb2018_trian'.*dsb2018_\{trainval"):
        check_datasets(["dsb2018_trian"])


def describe(root, name, splits=("train",), classes=("nucleus",), with_json=True):
    """A data set that only dataset.yaml describes, its JSON empty."""
    info = DatasetInfo(name, splits, classes)
    write_dataset_file(root / name / DATASET_FILE, info)
    for split in splits if with_json else ():
        path = info.json_file(root, split)
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    return info


def test_a_dataset_yaml_is_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    describe(tmp_path, "tissue", ("train", "holdout"), ("nucleus", "déchet", "no"))
    # prediction asks without registering
    assert class_names("tissue_holdout") == ["nucleus", "déchet", "no"]
    assert class_names("tissue_val") is None and class_names("livecell_val") == ["cell"]
    register_datasets()
    assert MetadataCatalog.get("tissue_holdout").thing_classes == ["nucleus", "déchet", "no"]
    assert MetadataCatalog.get("tissue_train").image_root == str(tmp_path / "tissue")
    with pytest.raises(InputError, match=r"'tissue_val' is not registered.*tissue_train"):
        check_datasets(["tissue_val"])
    (tmp_path / "tissue/annotations/instances_train.json").unlink()
    with pytest.raises(FileNotFoundError, match="labels or coco, --name tissue"):
        check_datasets(["tissue_train"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not a yaml text file"),
        ("[" * 5000, "not a yaml text file"),
        ("{name: 2026-13-45}", "not a yaml text file"),
        ("- name", r"found \['name'\]; expected name"),
        ("name: mine", r"found \['name'\]; expected name"),
        ("{name: other, classes: [a], splits: [b]}", "found the name 'other'"),
        ("{name: mine, classes: a, splits: [b]}", "found classes a; expected a list"),
        ("{name: mine, classes: [no], splits: [b]}", r"found classes \[False\]"),
        ("{name: mine, classes: [a, a], splits: [b]}", "each of them once"),
        ("{name: mine, classes: [a], splits: [../b]}", "split '../b': expected letters"),
    ],
)
def test_a_broken_dataset_yaml_is_one_line(tmp_path, text, message):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/dataset.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        register_datasets(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'mine/dataset.yaml'}: ")


def test_an_own_data_set_takes_no_other_ones_name(tmp_path):
    describe(tmp_path, "livecell_types")
    with pytest.raises(InputError, match="'livecell_types': nucdet or Detectron2 has one"):
        register_datasets(tmp_path)
