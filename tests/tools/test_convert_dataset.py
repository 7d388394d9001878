import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/convert_dataset.py"


def run(monkeypatch, *arguments):
    """Run the tool in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name="__main__")
    return end.value.code


def test_synthetic(monkeypatch, tmp_path, capsys):
    options = ["--root", tmp_path, "--images", 4, "--size", 64, "--val-fraction", 0.5]
    assert run(monkeypatch, "synthetic", *options) == 0
    assert "train: 2 pictures" in capsys.readouterr().out
    assert (tmp_path / "annotations/instances_val.json").is_file()


def test_a_mistake_is_one_line_and_code_2(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "dsb2018", "--root", tmp_path / "nowhere") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and "no such folder" in lines[0]


def test_help_names_the_data_sets(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    assert "{dsb2018,livecell,sartorius,synthetic}" in capsys.readouterr().out
    assert run(monkeypatch, "dsb2018", "--help") == 0
    assert "--skip-invalid" in capsys.readouterr().out
