from __future__ import annotations

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from nucdet.data.datasets import check_datasets, register_coco_json, register_datasets
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


def test_a_missing_json_says_how_to_make_it(tmp_path):
    register_datasets(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"instances_train\.json.*convert_dataset\.py dsb"):
        DatasetCatalog.get("dsb2018_train")
    with pytest.raises(FileNotFoundError, match="--kinds"):
        DatasetCatalog.get("dsb2018_only_bright_field")


def test_a_json_cut_in_half_is_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [], "annotations": []})[:-5])
    register_coco_json("halved", path, tmp_path)
    with pytest.raises(InputError, match=r"a\.json: not a COCO JSON"):
        DatasetCatalog.get("halved")


def test_unregistered_names_are_an_error_that_lists_ours():
    with pytest.raises(InputError, match=r"'dsb2018_trian'.*dsb2018_\{trainval"):
        check_datasets(["dsb2018_trian"])
