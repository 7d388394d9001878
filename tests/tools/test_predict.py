"""nucdet-predict from the command line to the files, with a small network of random weights."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from pycocotools.coco import COCO

from nucdet.predict.records import RecordStore


@pytest.fixture(scope="module")
def network(repository, tmp_path_factory) -> list[str]:
    """Arguments that choose the network."""
    from detectron2.modeling import build_model

    from nucdet.config import load_config

    config = repository / "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"
    pairs = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "64", "TEST.DETECTIONS_PER_IMAGE", "20"]
    torch.manual_seed(0)
    model = build_model(load_config(config, [*pairs, "MODEL.WEIGHTS", ""]))
    weights = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({"model": model.state_dict()}, weights)
    return ["--config-file", str(config), *pairs, "MODEL.WEIGHTS", str(weights)]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Three images of 64 × 64 and a broken one."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8)).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:100])
    return folder


@pytest.fixture
def run(run_tool):
    return partial(run_tool, "predict.py")


FORMATS = "label,overlay,csv,coco,kaggle,geojson,roi"


def test_images_and_a_broken_one(run, network, images, tmp_path):
    (tmp_path / "doses.csv").write_text("letter,dose\na,5\nn,2\n")
    arguments = ["--input", images, "--save", FORMATS, "--pixel-size", 0.5]
    arguments += ["--metadata", r"(?P<letter>\w)$", tmp_path / "doses.csv"]
    code, out, err = run(*arguments, "--output", tmp_path / "one", *network)
    assert code == 3
    assert "3 images predicted, 1 failed" in out
    assert "broken.png: damaged" in err
    assert "Traceback" not in err
    summary = pd.read_csv(tmp_path / "one" / "summary.csv", keep_default_na=False)
    assert summary["letter"].tolist() == ["a", "b", "n", "c"]
    assert summary["dose"].tolist() == ["5", "", "2", ""]
    coco = COCO(tmp_path / "one" / "predictions_coco.json")
    assert len(coco.anns) > 0
    for image_id, name in enumerate("abc", 1):
        labels = tifffile.imread(tmp_path / "one" / f"{name}_label.tif")
        table = pd.read_csv(tmp_path / "one" / f"{name}.csv")
        assert labels.shape == (64, 64)
        assert len(table) == labels.max() == len(coco.getAnnIds(image_id))
        areas = np.bincount(labels.ravel())[1:]
        assert table["area_um2"].tolist() == (areas / 4).tolist()
        assert [a["area"] for a in coco.loadAnns(coco.getAnnIds(image_id))] == areas.tolist()


@pytest.mark.slow  # each process imports everything anew
def test_two_processes_give_the_files_of_one(run, network, images, tmp_path, contents):
    for name, count in (("one", 1), ("two", 2)):
        output = tmp_path / name
        options = ["--output", output, "--save", FORMATS, "--num-gpus", count]
        code, out, _ = run("--input", images, *options, *network)
        assert code == 3
        assert "3 images predicted, 1 failed" in out
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_threshold_finds_more_or_is_sure(run, network, images, tmp_path):
    scores = {}
    for threshold in (0.1, 0.3, 0.9):
        folder = tmp_path / str(threshold)
        arguments = ["--input", images / "a.png", "--output", folder, "--save", "csv"]
        assert run(*arguments, "--threshold", threshold, *network)[0] == 0
        scores[threshold] = pd.read_csv(folder / "nuclei.csv")["score"].tolist()
    assert len(scores[0.1]) > 0 and min(scores[0.1], default=0) > 0.1
    assert all(score > 0.3 for score in scores[0.3])
    assert len(scores[0.1]) >= len(scores[0.3]) >= len(scores[0.9])
    code, _, err = run("--input", images, "--output", tmp_path / "x", "--threshold", "1.5")
    assert code == 2 and err.count("\n") == 1 and "score threshold" in err and "1.5" in err


def test_outlines_move(run, network, images, tmp_path):
    areas = {}
    for offset in (None, 1, -1):
        options = [] if offset is None else ["--outline-offset", offset]
        folder = tmp_path / str(offset)
        arguments = ["--input", images / "a.png", "--output", folder, "--save", "label", *options]
        assert run(*arguments, *network)[0] == 0
        areas[offset] = np.bincount(tifffile.imread(folder / "a_label.tif").ravel())[1:]
    assert len(areas[1]) == len(areas[-1]) == len(areas[None]) > 0
    assert (areas[1] >= areas[None]).all() and areas[1].sum() > areas[None].sum()
    assert (areas[-1] <= areas[None]).all() and areas[-1].sum() < areas[None].sum()
    code, _, err = run("--input", images, "--output", tmp_path / "x", "--outline-offset", "nan")
    assert code == 2 and err.count("\n") == 1 and "--outline-offset nan" in err


def test_ctrl_c_then_resume(run, network, images, tmp_path, monkeypatch, contents):
    arguments = ["--input", images, "--output", tmp_path / "out", "--save", "label", *network]
    save = RecordStore.save

    def save_and_interrupt(self, file, record, *args, **named):
        save(self, file, record, *args, **named)
        if record is not None:
            signal.raise_signal(signal.SIGINT)

    # a shell starts what runs in its background with Ctrl-C switched off
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(RecordStore, "save", save_and_interrupt)
            code, _, err = run(*arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert "1 of 4 images are done; --resume continues with the rest" in err
    records = {".records/a.json", ".records/broken.json"}
    assert set(contents(tmp_path / "out")) == {"a_label.tif", *records}
    code, out, _ = run("--resume", *arguments)
    assert code == 3
    assert "3 images predicted, 1 failed" in out
    assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 4


def test_mistakes_are_one_line_and_code_2(run, network, images, tmp_path):
    (tmp_path / "file").touch()
    good = {"--input": images, "--output": tmp_path / "out"}
    for changes, complaint in (
        ({"--input": tmp_path / "no"}, "no: no such file or folder"),
        ({"--input": f"{images}/*.tif"}, "found no files"),
        ({"--save": "label,mask"}, "no format 'mask'"),
        ({"--pixel-size": "-1"}, "--pixel-size -1"),
        ({"--diameter": "0"}, "diameter"),
        ({"--z": "top"}, "--z top: expected max, mean, all or a number from 0"),
        ({"--scene": ""}, "--scene is empty; expected a name or a number from 0"),
        ({"--time": "-1"}, "--time -1: expected all or a number from 0"),
        ({"--output": tmp_path / "file"}, "file: a file has that name; expected a folder"),
        ({"--output": tmp_path / "file" / "out"}, "Not a directory"),
        ({"--num-machines": 2}, "--dist-url"),
    ):
        options = [str(text) for pair in (good | changes).items() for text in pair]
        code, _, err = run(*options, *network)
        assert code == 2, changes
        assert err.startswith("error: ") and err.count("\n") == 1
        assert complaint in err
    code, _, err = run("--input", images, "--output", tmp_path / "out", *network, "NO.KEY", "1")
    assert code == 2
    assert "NO.KEY" in err
    assert not (tmp_path / "out").exists()


def test_all_planes_of_a_channel(run, network, tmp_path):
    path = tmp_path / "film.ome.tif"
    film = np.random.default_rng(0).integers(0, 255, (2, 2, 3, 64, 64), np.uint8)
    metadata = {"axes": "TCZYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    tifffile.imwrite(path, film, ome=True, metadata=metadata, photometric="minisblack")
    planes = ["--channel", "DAPI", "--z", "all", "--time", "all"]
    code, out, err = run(
        "--input", path, "--output", tmp_path / "all", "--save", FORMATS, *planes, *network
    )
    assert (code, "1 images predicted, 0 failed" in out) == (0, True), err
    with tifffile.TiffFile(tmp_path / "all" / "film_label.ome.tif") as tiff:
        assert tiff.series[0].axes == "TZYX"
        labels = tiff.asarray()
    table = pd.read_csv(tmp_path / "all" / "nuclei.csv")
    assert table["id"].tolist() == list(range(1, labels.max() + 1)) and labels.max() > 0
    for _, row in table.iterrows():
        mask = labels[row["time"], row["z"]] == row["id"]
        assert np.count_nonzero(mask) == np.count_nonzero(labels == row["id"]) == row["area_px"]
        for channel, name in enumerate(("GFP", "DAPI")):
            values = film[row["time"], channel, row["z"]][mask]
            assert row[f"mean_intensity_{name}"] == pytest.approx(values.mean(), rel=1e-5)
    # a plane alone is the plane of the stack
    one = ["--channel", "1", "--z", "2", "--time", "1"]
    assert run("--input", path, "--output", tmp_path / "one", *one, *network)[0] == 0
    alone = tifffile.imread(tmp_path / "one" / "film_label.tif")
    np.testing.assert_array_equal(alone > 0, labels[1, 2] > 0)
    code, _, err = run(
        "--input", path, "--output", tmp_path / "x", *planes, "--scene", "9", *network
    )
    assert code == 0  # there is one scene: what is said of scenes does not matter


def test_a_file_for_each_channel(run, network, images, tmp_path):
    plate, output = tmp_path / "plate", tmp_path / "out"
    plate.mkdir()
    for i, name in enumerate("ab", 1):
        (plate / f"B03_w{i}.png").write_bytes((images / f"{name}.png").read_bytes())
    options = ["--channel-files", "_w([0-9])", "--channel", "2", "--save", "csv"]
    code, out, _ = run("--input", plate, "--output", output, *options, *network)
    assert code == 0 and "1 images predicted" in out
    # the nuclei are those of b.png, of which a.png is measured too
    run("--input", images / "b.png", "--output", tmp_path / "b", "--save", "csv", *network)
    both = pd.read_csv(output / "B03_w2.csv")
    alone = pd.read_csv(tmp_path / "b" / "b.csv")
    assert len(alone) and both["area_px"].tolist() == alone["area_px"].tolist()
    assert both["mean_intensity_2"].tolist() == alone["mean_intensity"].tolist()
    assert both["mean_intensity_1"].tolist() != both["mean_intensity_2"].tolist()


def test_help_names_the_formats_and_exit_codes(run):
    code, out, _ = run("--help")
    assert code == 0
    for text in ("_label.tif", "_rois.zip", "report.html", "Exit codes", "--resume", "nucdet"):
        assert text in out


def test_records_hold_no_path_of_this_machine(run, network, images, tmp_path, contents):
    run("--input", images / "a.png", "--output", tmp_path / "out", *network)
    record = json.loads((tmp_path / "out" / ".records" / "a.json").read_text())
    assert record["file"] == "a.png"
    texts = [c for n, c in contents(tmp_path / "out").items() if n.endswith(("json", "html"))]
    assert not any(str(images).encode() in text for text in texts)
