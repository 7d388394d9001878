import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nucdet.data.conversion.kaggle_csv import read_rows
from nucdet.data.conversion.synthetic import make_synthetic
from nucdet.data.conversion.workers import map_images
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
        make_synthetic(tmp_path, images=3, size=48)
        manifests.append((tmp_path / "annotations" / MANIFEST).read_bytes())
    assert manifests[0] == manifests[1]
    assert set(json.loads(manifests[0])["files"]) == {"instances_train.json", "instances_val.json"}


def _sleep(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_workers_end_with_a_killed_parent():
    code = (
        "import importlib.util; "
        f"spec = importlib.util.spec_from_file_location('sleeper', {__file__!r}); "
        "module = importlib.util.module_from_spec(spec); "
        "import sys; sys.modules['sleeper'] = module; spec.loader.exec_module(module); "
        "module.map_images(module._sleep, [60, 60], 2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline())]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(50):
        if not any(_runs(worker) for worker in workers):
            break
        time.sleep(0.1)
    assert not any(_runs(worker) for worker in workers)


def _runs(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_map_images_keeps_the_order():
    assert map_images(abs, [-3, 2, -1], 2) == [3, 2, 1]


def test_a_csv_field_longer_than_pythons_limit(tmp_path):
    path, code = tmp_path / "solution.csv", "1 1 " * 50_000
    path.write_text(f"a,b\nx,{code}\n")
    assert [row["b"] for _, row in read_rows(path, ("a", "b"))] == [code]
