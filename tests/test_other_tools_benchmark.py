"""benchmarks/other_tools.py: another tool learns from and segments the images of the benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucdet.errors import run_tool


class Threshold:
    """A tool whose model is a threshold; nuclei of the drawn images are bright squares apart."""

    def train(self, train, val, iterations, model):
        brightest = max(image.max() for image in train.pixels)
        model.write_text(str(int(brightest) // 2))

    def load(self, model):
        threshold = int(Path(model).read_text())

        def segment(image, diameter):
            labels = (image[..., 0] > threshold).astype(np.int64)
            labels[:, image.shape[1] // 2 :] *= 2  # one square left, one right
            labels[0, 0] = 0 if diameter is None else round(diameter)
            return labels

        return segment


@pytest.fixture
def benchmark(load_benchmark):
    return load_benchmark("other_tools")


@pytest.fixture
def run(benchmark, monkeypatch):
    """Run the benchmark with these arguments: its exit code."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["x", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_tool(benchmark.main)
        return end.value.code

    return run


@pytest.fixture
def data(tmp_path):
    """The set ``two`` of two images with two squares of 100 pixels each."""
    for folder in ("images", "labels"):
        (tmp_path / "two" / folder).mkdir(parents=True)
    for number in range(2):
        labels = np.zeros((32, 64), np.uint8)
        labels[4:14, 4 + number : 14 + number], labels[20:30, 40:50] = 1, 2
        Image.fromarray((labels > 0) * np.uint8(200)).save(tmp_path / f"two/images/{number}.png")
        Image.fromarray(labels).save(tmp_path / f"two/labels/{number}.png")
    return tmp_path / "two"


def test_a_tool_learns_and_leaves_label_images(benchmark, run, data, registered, tmp_path):
    benchmark.TOOLS["stardist"] = Threshold
    model = tmp_path / "model"
    names = ["--train", "synthetic_train", "--val", "synthetic_val", "--iterations", 1]
    assert run("train", "stardist", *names, "--model", model) == 0
    assert 0 < int(model.read_text()) < 128
    model.write_text("100")
    where = ["--model", model, "--data", data, "--output", tmp_path / "theirs"]
    assert run("predict", "stardist", *where) == 0
    labels = [tifffile.imread(tmp_path / f"theirs/two/{number}.tif") for number in range(2)]
    for number, label_map in enumerate(labels):
        truth = np.array(Image.open(data / f"labels/{number}.png"))
        assert label_map.shape == (32, 64)
        assert (label_map == truth).all()
    # the diameter of a circle of 100 pixels is 11.3
    assert run("predict", "stardist", *where, "--diameter", "true", "--limit", 1) == 0
    assert tifffile.imread(tmp_path / "theirs/two/0.tif")[0, 0] > 0


@pytest.mark.parametrize(("command", "option"), [("train", "--iterations"), ("predict", "--limit")])
def test_numbers_below_one(run, data, tmp_path, capsys, command, option):
    where = ["--data", data, "--output", tmp_path / "o"] if command == "predict" else []
    assert run(command, "stardist", "--model", tmp_path / "m", *where, option, 0) == 2
    assert capsys.readouterr().err == f"error: {option} 0: expected 1 or more\n"


def test_true_diameters(benchmark):
    labels = np.zeros((20, 20), np.int32)
    labels[:10, :10], labels[12:14, 12:14] = 3, 7
    expected = np.median([2 * np.sqrt(100 / np.pi), 2 * np.sqrt(4 / np.pi)])
    assert benchmark.median_diameter(labels) == pytest.approx(expected)
    assert benchmark.median_diameter(np.zeros((5, 5), np.int32)) is None


@pytest.mark.parametrize(
    ("tool", "remedy"),
    [("stardist", "pip install stardist tensorflow-cpu"), ("cellpose", "pip install 'cellpose<4'")],
)
def test_a_tool_that_is_not_installed(run, data, tmp_path, capsys, monkeypatch, tool, remedy):
    monkeypatch.setitem(sys.modules, tool, None)
    assert run("predict", tool, "--model", "x", "--data", data, "--output", tmp_path / "o") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and f"{tool} is not installed; {remedy}," in message
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("tool", ["stardist", "cellpose"])
def test_the_tools_themselves(run, data, registered, tmp_path, capsys, tool):
    pytest.importorskip(tool, reason=f"{tool} is not installed; see benchmarks/other_tools.py")
    if tool == "stardist":
        pytest.importorskip("tensorflow", reason="StarDist trains with TensorFlow")
    names = ["--train", "synthetic_train", "--val", "synthetic_val", "--iterations", 2]
    assert run("train", tool, *names, "--model", tmp_path / "model") == 0
    where = ["--model", tmp_path / "model", "--data", data, "--output", tmp_path / "theirs"]
    assert run("predict", tool, *where) == 0
    assert tifffile.imread(tmp_path / "theirs/two/0.tif").shape == (32, 64)
    where[1] = "no_such_model"
    assert run("predict", tool, *where) == 2
    assert "error: --model no_such_model: neither a folder" in capsys.readouterr().err
