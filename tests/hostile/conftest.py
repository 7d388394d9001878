"""A folder of bad files, made once, and the commands in this process with a limit on their time."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

_LIMIT = 20  # seconds; a tool that waits for a pipe would wait forever

GOOD = {
    "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}],
    "categories": [{"id": 1, "name": "nucleus"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 1, 4, 4],
            "area": 16,
            "iscrowd": 0,
            "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
        }
    ],
}


def changed(member: str, key: str, value: object) -> dict:
    """The good COCO JSON with one value of the first entry of a member replaced."""
    content = json.loads(json.dumps(GOOD))
    content[member][0][key] = value
    return content


# name of the file: its content
COCO_FILES = {
    "good": GOOD,
    "no_images": {**GOOD, "images": []},
    "list": [1, 2],
    "id_list": changed("images", "id", [1]),
    "id_null": changed("images", "id", None),
    "id_float": changed("images", "id", 1.5),
    "name_number": changed("images", "file_name", 7),
    "name_missing": changed("images", "file_name", None),
    "height_0": changed("images", "height", 0),
    "height_text": changed("images", "height", "8"),
    "width_null": changed("images", "width", None),
    "width_below": changed("images", "width", -3),
    "image_id_list": changed("annotations", "image_id", [1]),
    "segmentation_null": changed("annotations", "segmentation", None),
    "segmentation_text": changed("annotations", "segmentation", "here"),
    "segmentation_number": changed("annotations", "segmentation", 5),
    "polygon_text": changed("annotations", "segmentation", [["a", "b", "c", "d", "e", "f"]]),
    "rle_size": changed("annotations", "segmentation", {"size": [4, 4], "counts": "1"}),
    "rle_counts": changed("annotations", "segmentation", {"size": [8, 10], "counts": [1, 2]}),
    "rle_code": changed("annotations", "segmentation", {"size": [8, 10], "counts": "\x7f~"}),
    "category_text": changed("categories", "id", "nucleus"),
    "category_list": changed("categories", "id", [1]),
    "category_name": changed("categories", "name", ["nucleus"]),
    "annotation_number": {**GOOD, "annotations": [3]},
    "images_number": {**GOOD, "images": 4},
}


@pytest.fixture(scope="session")
def bad(tmp_path_factory) -> Path:
    """The folder of bad files."""
    folder = tmp_path_factory.mktemp("bad")
    for name, content in COCO_FILES.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "deep_member.json").write_text('{"images": [' + "[" * 100_000)
    (folder / "cut.json").write_text('{"images": [{"id": 1')
    (folder / "empty.json").write_text("")
    (folder / "binary.json").write_bytes(bytes(range(256)))
    _write_images(folder)
    _write_bombs(folder)
    _write_predictions(folder)
    _write_configs(folder)
    _write_trainings(folder)
    _write_checkpoints(folder)
    return folder


def _write_images(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 10), np.uint8)
    for name in ("images/a.png", "mixed/a.png", "kaggle/stage1_train/a/images/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    masks = folder / "kaggle/stage1_train/a/masks"
    masks.mkdir()
    os.mkfifo(masks / "pipe.png")
    (folder / "nothing").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken/a.png").write_bytes((folder / "images/a.png").read_bytes()[:60])
    (folder / "labels").mkdir()
    np.save(folder / "labels/a.npy", np.full((8, 10), -1))
    (folder / "float_labels").mkdir()
    np.save(folder / "float_labels/a.npy", np.full((8, 10), 0.5))
    (folder / "object_labels").mkdir()
    np.save(folder / "object_labels/a.npy", np.array([print], dtype=object), allow_pickle=True)
    (folder / "small_labels").mkdir()
    np.save(folder / "small_labels/a.npy", np.zeros((3, 3), np.uint8))
    os.mkfifo(folder / "pipe.png")
    (folder / "pipes").mkdir()
    os.mkfifo(folder / "pipes/a.png")
    (folder / "devices").mkdir()
    (folder / "devices/a.png").symlink_to("/dev/zero")


def _write_bombs(folder: Path) -> None:
    """Small files whose headers claim 40,000 and a million pixels a side."""
    good = (folder / "images/a.png").read_bytes()
    header = struct.pack(">4sIIBBBBB", b"IHDR", 40_000, 40_000, 8, 0, 0, 0, 0)
    claimed = header + struct.pack(">I", zlib.crc32(header))
    (folder / "bomb.png").write_bytes(good[:12] + claimed + good[12 + len(claimed) :])
    tifffile.imwrite(folder / "bomb.tif", np.zeros((8, 8), np.uint8), compression="zlib")
    with tifffile.TiffFile(folder / "bomb.tif", mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(1_000_000)


def _write_predictions(folder: Path) -> None:
    code = {"size": [8, 10], "counts": [0, 80]}
    result = {"image_id": 1, "category_id": 1, "segmentation": code, "score": 0.5}
    results = {
        "result": result,
        "result_image": {**result, "image_id": 2},
        "result_image_list": {**result, "image_id": [1]},
        "result_score": {**result, "score": "high"},
        "result_mask": {**result, "segmentation": None},
        "result_category": {**result, "category_id": "nucleus"},
        "result_big": {**result, "category_id": 1e400},
    }
    for name, entry in results.items():
        (folder / f"{name}.json").write_text(json.dumps([entry]))
    tables = {
        "columns": "name,code\na,1 2\n",
        "stranger": "ImageId,EncodedPixels\nb,1 2\n",
        "odd": "ImageId,EncodedPixels\na,1 2 3\n",
        "words": "ImageId,EncodedPixels\na,one two\n",
        "zero": "ImageId,EncodedPixels\na,0 4\n",
        "beyond": "ImageId,EncodedPixels\na,79 9\n",
        "huge": f"ImageId,EncodedPixels\na,{10**30} 2\n",
        "nothing": "",
    }
    _write_texts(folder, tables, ".csv")


def _write_configs(folder: Path) -> None:
    texts = {
        "runs": 'MODEL: !!python/object/apply:os.system ["touch hacked"]\n',
        "scalar": "5\n",
        "empty": "",
        "loop": "_BASE_: loop.yaml\n",
        "remote": "_BASE_: https://example.com/a.yaml\n",
        "missing_base": "_BASE_: none.yaml\n",
        "tabs": "MODEL:\n\t- a\n",
        "unknown": "MODEL:\n  NO_SUCH_KEY: 1\n",
        "type": "SOLVER: 5\n",
        "deep": "[" * 3000,
    }
    _write_texts(folder, texts, ".yaml")


def _write_texts(folder: Path, texts: dict[str, str], ending: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}{ending}").write_text(text)


def _write_trainings(folder: Path) -> None:
    tables = {
        "run": "iteration,total_loss\n0,1.5\n1,1.2\n",
        "run_text": "iteration,total_loss\n0,1.5\n1,hello\n",
        "run_part": "iteration,total_loss,loss_mask\n0,1.5,x\n",
        "run_iteration": "iteration,total_loss\nfirst,1.5\n",
        "run_empty": "",
        "run_columns": "a,b\n1,2\n",
        "run_header": "iteration,total_loss\n",
    }
    for name, text in tables.items():
        (folder / name).mkdir()
        (folder / name / "losses.csv").write_text(text)


def _write_checkpoints(folder: Path) -> None:
    contents = {
        "ck_list": [1, 2],
        "ck_tensor": torch.zeros(3),
        "ck_none": None,
        "ck_text": "weights",
        "ck_empty": {},
        "ck_model_list": {"model": [1]},
        "ck_model_empty": {"model": {}},
        "ck_values": {"model": {"weight": "big"}},
        "ck_names": {"model": {3: torch.zeros(1)}},
        "ck_stranger": {"model": {"other": torch.zeros(2)}},
        "ck_good": {"model": torch.nn.Linear(2, 2).state_dict()},
    }
    for name, content in contents.items():
        torch.save(content, folder / f"{name}.pth")
    whole = (folder / "ck_good.pth").read_bytes()
    (folder / "ck_cut.pth").write_bytes(whole[: len(whole) // 2])
    (folder / "ck_zero.pth").write_bytes(b"")
    (folder / "ck_words.pth").write_text("no weights at all")
    (folder / "ck_code.pkl").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")


CLEAR, TRACEBACK, WRONG = "one clear line", "traceback", "wrong"
_VERDICTS = pytest.StashKey[dict[str, str]]()


@pytest.fixture
def judge(request) -> Callable[..., str]:
    """``judge(code, stderr, pattern)``, or of the API ``judge(exception, pattern)`` → a verdict.

    It is counted in the table at the end of the run; a test that does not come to it is wrong.
    """
    verdicts = request.config.stash.setdefault(_VERDICTS, {})
    verdicts[request.node.nodeid] = WRONG

    def of(found: int | Exception | None, *texts: str) -> str:
        *printed, pattern = texts
        if isinstance(found, int):
            (text,) = printed
            refused, failed = found == 2 and "error: " in text.splitlines()[-1], found == 1
        else:
            text = str(found)
            refused = isinstance(found, (ValueError, TypeError, OSError)) and "\n" not in text
            failed = found is not None and not refused
        verdict = CLEAR if refused and re.search(pattern, text) else WRONG
        if failed or "Traceback" in text:
            verdict = TRACEBACK
        verdicts[request.node.nodeid] = verdict
        return verdict

    return of


def pytest_terminal_summary(terminalreporter) -> None:
    """The table of docs/reliability.md."""
    verdicts = terminalreporter.config.stash.get(_VERDICTS, {})
    if not verdicts:
        return
    counts = Counter((name.partition("::")[0], word) for name, word in verdicts.items())
    terminalreporter.section("bad input")
    words = (CLEAR, TRACEBACK, WRONG)
    terminalreporter.write_line(f"{'':34}{'tried':>8}" + "".join(f"{w:>16}" for w in words))
    for file in sorted({file for file, _ in counts}):
        row = [counts[file, word] for word in words]
        terminalreporter.write_line(f"{file:34}{sum(row):8}" + "".join(f"{n:16}" for n in row))


@pytest.fixture
def answer(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str]]:
    """Run a command in an empty folder: ``answer("evaluate", "--json", …)`` → code and stderr."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)

    def late(signum, frame):
        raise AssertionError(f"no answer after {_LIMIT} seconds")

    def run(command: str, *arguments: str) -> tuple[int, str]:
        main = import_module(f"nucdet.commands.{command}").main
        monkeypatch.setattr(sys, "argv", [f"nucdet-{command}", *arguments])
        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(_LIMIT)
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        return end.value.code, capsys.readouterr().err

    return run
