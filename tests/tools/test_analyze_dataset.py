import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/analyze_dataset.py"


def run(monkeypatch, *arguments):
    """Run the tool in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name="__main__")
    return end.value.code


def test_from_annotations_to_suggestions(monkeypatch, tmp_path, capsys):
    image = {"id": 1, "file_name": "a.png", "height": 256, "width": 256, "kind": "fluorescence"}
    nucleus = {"id": 1, "image_id": 1, "bbox": [0, 0, 32, 32], "area": 800, "iscrowd": 0}
    annotations = tmp_path / "instances_train.json"
    annotations.write_text(json.dumps({"images": [image], "annotations": [nucleus]}))
    output = tmp_path / "out"
    options = ["--annotations", annotations, "--output", output, "--input-size", 512]
    assert run(monkeypatch, *options) == 0
    # a box of 32 is one of 64 at the input size: the coarsest sizes that hold 64 exactly
    printed = capsys.readouterr().out
    assert "MODEL.ANCHOR_GENERATOR.SIZES: [[64], [128], [256], [512], [1024]]" in printed
    assert (output / "statistics.png").is_file() and (output / "statistics.json").is_file()


def test_missing_file_is_one_line_and_code_2(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "--annotations", tmp_path / "no.json", "--output", tmp_path) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'no.json'}: No such file")
