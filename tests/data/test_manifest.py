import json

import pytest

from nucdet.data.conversion.synthetic import make_synthetic
from nucdet.data.manifest import MANIFEST, check_manifest, write_manifest
from nucdet.errors import InputError


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "name" / "annotations"
    folder.mkdir(parents=True)
    for split in ("train", "val", "fold0_val"):
        (folder / f"instances_{split}.json").write_text(split)
    write_manifest(folder, [f"instances_{split}.json" for split in ("train", "val")])
    return folder


def test_what_the_last_conversion_wrote_passes(folder):
    check_manifest(folder / "instances_train.json")
    (folder / MANIFEST).unlink()  # of an older nucdet, or another tool
    check_manifest(folder / "instances_fold0_val.json")


@pytest.mark.parametrize(
    ("split", "text", "message"),
    [
        ("val", "of another seed", r"instances_val\.json: not what the last .* of name .*cut off"),
        ("fold0_val", "fold0_val", r"instances_fold0_val\.json: .*an older conversion wrote it"),
    ],
)
def test_files_of_another_conversion_are_refused(folder, split, text, message):
    (folder / f"instances_{split}.json").write_text(text)
    with pytest.raises(InputError, match=message):
        check_manifest(folder / f"instances_{split}.json")


def test_files_of_earlier_conversions_can_stay_valid(folder):
    (folder / "instances_test.json").write_text("test")
    write_manifest(folder, ["instances_test.json"], keep=True)
    for split in ("train", "val", "test"):
        check_manifest(folder / f"instances_{split}.json")


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', "{"])
def test_a_damaged_manifest_is_one_line(folder, content):
    (folder / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=rf"{MANIFEST}: damaged .*convert the data set again"):
        check_manifest(folder / "instances_train.json")


def test_leftovers_of_a_killed_conversion_go(folder):
    left = folder / ".instances_train-ab12cd.json"
    left.write_text("half")
    write_manifest(folder, ["instances_train.json"])
    assert not left.exists()


def test_a_conversion_is_the_same_twice(tmp_path):
    manifests = []
    for _ in range(2):
        make_synthetic(tmp_path, images=3, size=48, val_fraction=0.5)
        manifests.append((tmp_path / "annotations" / MANIFEST).read_bytes())
    assert manifests[0] == manifests[1]
    assert set(json.loads(manifests[0])["files"]) == {"instances_train.json", "instances_val.json"}
