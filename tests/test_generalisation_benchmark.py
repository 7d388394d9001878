"""benchmarks/generalisation.py: any folder of images and labels, a network or another tool."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

WATERSHED = "configs/DSB2018/classical_watershed.yaml"


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def data(tmp_path):
    """Sets ``bright`` (3 images) and ``deep/other`` (1) of two squares of 12 × 12 on black."""
    for folder, count in (("bright", 3), ("deep/other", 1)):
        for number in range(count):
            labels = np.zeros((64, 64), np.uint16)
            labels[8:20, 8 + number : 20 + number], labels[40:52, 40:52] = 5, 9
            write(tmp_path / "data" / folder / f"images/{number}.png", (labels > 0) * np.uint8(200))
            write(tmp_path / "data" / folder / f"labels/{number}.png", labels)
    return tmp_path / "data"


@pytest.fixture
def run(repository, tmp_path, monkeypatch, capsys):
    """Run the benchmark: exit code, its table (by set) and stderr."""

    def run(*arguments):
        script = str(repository / "benchmarks/generalisation.py")
        monkeypatch.syspath_prepend(str(repository / "benchmarks"))  # as for a script
        output = tmp_path / "output"
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments), "--output", str(output)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(script, run_name="__main__")
        if end.value.code:
            return end.value.code, None, capsys.readouterr().err
        return 0, pd.read_csv(output / "generalisation.csv", index_col="set"), ""

    return run


def test_a_network_on_every_set(run, data, repository, tmp_path):
    code, table, _ = run("--data", data, "--config-file", repository / WATERSHED)
    assert code == 0
    assert list(table.index) == ["bright", "other", "mean"]
    assert table["images"].tolist() == [3, 1, 4]
    assert table["nuclei"].tolist() == table["found"].tolist() == [6, 2, 8]
    assert (table["precision"] == 100).all()
    assert table.loc["mean", "mAP"] == pytest.approx(table["mAP"].iloc[:2].mean(), abs=1e-3)
    images = pd.read_csv(tmp_path / "output/bright.csv")
    assert images["mAP"].mean() == pytest.approx(table.loc["bright", "mAP"], abs=1e-3)
    # bars and one comparison a set, of one width
    assert Image.open(tmp_path / "output/generalisation.png").width == 1400
    text = (tmp_path / "output/generalisation.md").read_text()
    assert text.startswith("classical_watershed\n") and text.count("\n") == 2 + 2 + 3


def test_predictions_of_another_tool(run, data, tmp_path):
    # the first square whole, the second without its last row, and a speck
    for number in (0, 2):
        labels = np.array(Image.open(data / f"bright/labels/{number}.png")).astype(np.uint8)
        labels[51] = 0
        labels[0, 0] = 77
        write(tmp_path / f"theirs/{number}_cp_masks.png", labels)
    theirs = ["--data", data, "--sets", "bright", "--predictions", tmp_path / "theirs"]
    code, table, _ = run(*theirs, "--limit", 2)  # the first and the last
    assert code == 0
    row = table.loc["bright"]
    assert (row["images"], row["masks"], row["found"]) == (2, 6, 4)
    assert row["PQ"] == pytest.approx(100 * (1 + 11 / 12) / 2.5, abs=1e-3)
    assert row["AJI"] == pytest.approx(100 * (144 + 132) / (144 + 144 + 1), abs=1e-3)
    # of the radii 12/√π and √(132/π) the median of the difference is half the difference
    assert row["outline bias px"] == pytest.approx((132**0.5 - 12) / np.pi**0.5 / 2, abs=1e-3)
    assert "CPU s" not in table

    code, _, error = run(*theirs)
    assert code == 2 and "no label map for 1.png" in error

    write(tmp_path / "theirs/1.png", np.zeros((64, 32), np.uint8))
    code, _, error = run(*theirs)
    assert code == 2 and "1.png: 64x32 pixels" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "dark"], "there is no 'dark'; found bright, other"),
        (["--limit", "0"], "--limit 0"),
        (["--diameter", "0"], "diameter is 0.0"),
        (["--predictions", "nowhere"], "nowhere"),
        (["--predictions", "x", "--diameter", "auto"], "no network is asked"),
    ],
)
def test_mistakes_end_in_one_line(run, data, arguments, message):
    code, _, error = run("--data", data, *arguments)
    assert code == 2
    assert message in error and error.count("\n") == 1


def test_labels_must_belong_to_the_images(run, data):
    write(data / "bright/labels/0.png", np.zeros((64, 63), np.uint16))
    code, _, error = run(
        "--data", data, "--sets", "bright", "--predictions", data / "bright/labels"
    )
    assert code == 2 and "0.png: 64x63 pixels" in error
    (data / "bright/labels/1.png").unlink()
    code, _, error = run(
        "--data", data, "--sets", "bright", "--predictions", data / "bright/labels"
    )
    assert code == 2 and "1.png" in error
