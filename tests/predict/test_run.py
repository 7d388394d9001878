"""The loop over images with a predictor that takes what is bright for nuclei."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from detectron2.utils import comm
from PIL import Image

from nucdet.predict import reading, run
from nucdet.predict.familiarity import UNFAMILIAR
from nucdet.predict.formats import FORMATS, ImageFormat
from nucdet.predict.inputs import find_inputs
from nucdet.predict.run import predict_images

COUNTS = {"a.png": 3, "b.png": 0, "c.tif": 1, "sub/d.png": 2}


def test_every_image_has_its_files_and_the_folder_those_over_all(job, bright_is_nucleus, contents):
    predict_images(job(), bright_is_nucleus())
    endings = ("_label.tif", "_overlay.png", ".csv", ".geojson", "_rois.zip")
    expected = {f"{name}{ending}" for name in ("a", "b", "c", "sub/d") for ending in endings}
    expected |= {"summary.csv", "nuclei.csv", "report.html", "predictions_coco.json", "kaggle.csv"}
    written = set(contents(job().output))
    assert {name for name in written if not name.startswith(".records/")} == expected


def test_all_formats_agree_on_the_counts(job, bright_is_nucleus):
    predict_images(job(), bright_is_nucleus())
    out = job().output
    summary = pd.read_csv(out / "summary.csv").set_index("image")["nuclei"]
    assert summary.to_dict() == COUNTS
    coco = json.loads((out / "predictions_coco.json").read_text())
    for image in coco["images"]:
        name = image["file_name"].rpartition(".")[0]
        count = COUNTS[image["file_name"]]
        assert tifffile.imread(out / f"{name}_label.tif").max() == count
        assert len(pd.read_csv(out / f"{name}.csv")) == count
        assert len(json.loads((out / f"{name}.geojson").read_text())["features"]) == count
        assert sum(a["image_id"] == image["id"] for a in coco["annotations"]) == count
    assert "6 nuclei in 4 images" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("shape", "dtype", "scale"),
    [
        ((30, 40), np.uint8, 1),
        ((30, 40), np.uint16, 200),
        ((30, 40), np.float32, 1e-3),
        ((30, 40, 1), np.uint8, 1),
        ((30, 40, 3), np.uint8, 1),
        ((30, 40, 4), np.uint8, 1),
        ((30, 40, 4), np.uint16, 200),
        ((8, 8), np.uint8, 1),
        ((8, 8), np.uint16, 0),
        ((1, 5000), np.uint8, 1),
    ],
)
def test_any_image_is_given_back_in_its_size(tmp_path, job, shape, dtype, scale, bright_is_nucleus):
    pixels = np.zeros(shape, np.float64)
    pixels[:, :4] = 200 * scale
    (tmp_path / "odd").mkdir()
    tifffile.imwrite(
        tmp_path / "odd" / "x.tif",
        pixels.astype(dtype),
        photometric="rgb" if shape[-1] in (3, 4) else "minisblack",
        extrasamples=["unassalpha"] if shape[-1] == 4 else None,
    )
    files = tuple(find_inputs([str(tmp_path / "odd")], tmp_path / "out"))
    predict_images(job(files=files), bright_is_nucleus())
    out, count = job().output, int(scale > 0)
    summary = pd.read_csv(out / "summary.csv")
    assert summary[["nuclei", "width", "height"]].values.tolist() == [[count, shape[1], shape[0]]]
    labels = tifffile.imread(out / "x_label.tif")
    assert labels.shape == shape[:2]
    assert np.count_nonzero(labels) == count * 4 * shape[0]
    with Image.open(out / "x_overlay.png") as overlay:
        assert overlay.width % shape[1] == overlay.height % shape[0] == 0 or shape[1] > 4096


def test_intensities_are_those_of_the_file(job, bright_is_nucleus):
    predict_images(job(save=("csv",)), bright_is_nucleus())
    table = pd.read_csv(job().output / "c.csv")
    assert table["area_px"].tolist() == [50]
    assert table["mean_intensity"].tolist() == [3000]
    assert table["score"].tolist() == [1]


def test_one_table_has_the_nuclei_of_all_images(job, images, bright_is_nucleus):
    (images / "b.png").write_bytes(b"")
    predict_images(job(save=("csv",)), bright_is_nucleus())
    table = pd.read_csv(job().output / "nuclei.csv")
    assert table["image"].tolist() == ["a.png"] * 3 + ["c.tif"] + ["sub/d.png"] * 2
    assert table["id"].tolist() == [1, 2, 3, 1, 1, 2]
    assert set(table["class"]) == {"nucleus"} and set(table["time"]) == set(table["z"]) == {0}
    # a.png is RGB, the others grey
    assert table["mean_intensity_g"].notna().tolist() == [True] * 3 + [False] * 3
    assert table["net_mean_intensity"].tolist()[3:] == [2700, 255, 255]
    predict_images(job("again", save=("csv",), resume=True), bright_is_nucleus())
    assert (job("again").output / "nuclei.csv").read_text() == (
        job().output / "nuclei.csv"
    ).read_text()


def test_a_format_from_outside_need_not_create_folders(job, bright_is_nucleus, monkeypatch):
    def write(path, outputs):
        path.write_text(str(len(outputs.masks)))

    monkeypatch.setitem(FORMATS, "number", ImageFormat(".number", "of nuclei", write))
    predict_images(job(save=("number",)), bright_is_nucleus())
    numbers = {path.name: path.read_text() for path in job().output.rglob("*.number")}
    assert numbers == {"a.number": "3", "b.number": "0", "c.number": "1", "d.number": "2"}


def test_nuclei_at_the_border_can_be_left_out(job, bright_is_nucleus):
    predict_images(job("all"), bright_is_nucleus())
    predict_images(job(exclude_border=True), bright_is_nucleus())
    every = pd.read_csv(job("all").output / "nuclei.csv")
    whole = pd.read_csv(job().output / "nuclei.csv")
    assert every["touches_border"].tolist() == [False, False, True, False, False, True]
    columns = ["image", "centroid_y_px", "area_px"]
    pd.testing.assert_frame_equal(
        whole[columns], every.loc[~every["touches_border"], columns].reset_index(drop=True)
    )
    # in every format
    out = job().output
    assert tifffile.imread(out / "a_label.tif").max() == 2
    assert pd.read_csv(out / "summary.csv")["nuclei"].tolist() == [2, 0, 1, 1]


def test_channels_to_measure(job, capsys, bright_is_nucleus):
    predict_images(job(save=("csv",), measure_channels=("b", "0")), bright_is_nucleus())
    a = pd.read_csv(job().output / "a.csv")
    assert [name for name in a if "mean_intensity" in name] == [
        "mean_intensity_b",
        "net_mean_intensity_b",
        "mean_intensity_r",
        "net_mean_intensity_r",
    ]
    assert a["mean_intensity_b"].tolist() == [200] * 3
    # grey images have no channel b
    assert capsys.readouterr().err.count("no channel 'b' to measure, only 0") == 3


def test_pixel_size_reaches_every_table(job, bright_is_nucleus):
    predict_images(job(save=("csv", "geojson", "label"), pixel_size=0.5), bright_is_nucleus())
    out = job().output
    assert pd.read_csv(out / "c.csv")["area_um2"].tolist() == [12.5]
    (feature,) = json.loads((out / "c.geojson").read_text())["features"]
    assert feature["properties"]["measurements"]["area_um2"] == 12.5
    assert pd.read_csv(out / "summary.csv")["median_area_um2"].tolist()[2] == 12.5
    page = (out / "report.html").read_text()
    assert '"areas":[12.5]' in page and '"unit":"µm²"' in page


def test_formats_that_are_not_asked_for_are_not_written(job, bright_is_nucleus, contents):
    predict_images(job(save=("label",)), bright_is_nucleus())
    names = {n for n in contents(job().output) if not n.startswith(".records/")}
    labels = {f"{name}_label.tif" for name in ("a", "b", "c", "sub/d")}
    assert names == labels | {"summary.csv", "report.html"}


def test_two_runs_give_the_same_bytes(job, bright_is_nucleus, contents):
    predict_images(job("one"), bright_is_nucleus())
    predict_images(job("two"), bright_is_nucleus())
    assert contents(job("one").output) == contents(job("two").output)


def test_two_processes_give_the_files_of_one(job, monkeypatch, bright_is_nucleus, contents):
    predict_images(job("one"), bright_is_nucleus())
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    predictors = bright_is_nucleus(), bright_is_nucleus()
    for rank in (1, 0):  # the main one ends last, as synchronize sees to
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
        predict_images(job("two"), predictors[rank])
    seen = [predictor.seen for predictor in predictors]
    assert seen == [[["a.png", "c.tif"]], [["b.png", "d.png"]]]
    assert contents(job("one").output) == contents(job("two").output)


def test_images_go_together_up_to_a_number_and_a_size(
    job, monkeypatch, bright_is_nucleus, contents
):
    monkeypatch.setattr(reading, "_TOGETHER", 3)
    monkeypatch.setattr(reading, "_PIXELS_TOGETHER", 30 * 40 + 20 * 20)
    predictor = bright_is_nucleus()
    predict_images(job("groups"), predictor)
    assert predictor.seen == [["a.png", "b.png"], ["c.tif", "d.png"]]
    # larger than the limit: alone
    monkeypatch.setattr(reading, "_PIXELS_TOGETHER", 30 * 40 - 1)
    predictor = bright_is_nucleus()
    predict_images(job(), predictor)
    assert predictor.seen == [["a.png"], ["b.png", "c.tif", "d.png"]]
    assert contents(job().output) == contents(job("groups").output)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_what_is_too_much_together_is_tried_one_by_one(
    job, capsys, monkeypatch, error, bright_is_nucleus
):
    monkeypatch.setattr(bright_is_nucleus, "too_much", error)
    predictor = bright_is_nucleus(most=1)
    predict_images(job(), predictor)
    assert predictor.seen == [
        list(bright_is_nucleus.names.values()),
        *([name] for name in bright_is_nucleus.names.values()),
    ]
    assert "failed" not in capsys.readouterr().err
    assert pd.read_csv(job().output / "summary.csv")["nuclei"].tolist() == list(COUNTS.values())
    predict_images(job("none"), bright_is_nucleus(most=0))
    assert capsys.readouterr().err.count("not enough memory for this image") == 4


def test_another_error_of_torch_ends_the_run(job, monkeypatch, bright_is_nucleus):
    monkeypatch.setattr(bright_is_nucleus, "too_much", RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        predict_images(job(), bright_is_nucleus(most=1))


def test_a_broken_file_is_reported_and_the_rest_goes_on(job, images, capsys, bright_is_nucleus):
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:40])
    (images / "c.tif").write_text("no image")
    predict_images(job(), bright_is_nucleus())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed:")]
    assert len(lines) == 2
    assert "b.png: damaged" in lines[0] and "c.tif: not an image" in lines[1]
    out = job().output
    summary = pd.read_csv(out / "summary.csv").set_index("image")
    assert summary["nuclei"].dropna().to_dict() == {"a.png": 3, "sub/d.png": 2}
    assert summary["error"].dropna().index.tolist() == ["b.png", "c.tif"]
    assert "not an image" in (out / "report.html").read_text()
    assert not list(out.glob("b*")) and not list(out.glob("c*"))
    outcomes = [job().store.outcome(file) for file in job().files]
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]


@pytest.mark.parametrize("named", [1, 5])
def test_unfamiliar_images_are_named_on_the_screen_and_in_the_table(
    job, capsys, monkeypatch, named, bright_is_nucleus
):
    monkeypatch.setattr(run, "_NAMED", named)
    predict_images(job(save=()), bright_is_nucleus(unfamiliar=("a.png", "c.tif")))
    names = {1: "a.png, … (2 of 4)", 5: "a.png, c.tif"}[named]
    assert capsys.readouterr().out == f"{UNFAMILIAR}: {names}\n"
    summary = pd.read_csv(job().output / "summary.csv", index_col="image")
    assert summary["familiarity"].to_dict() == {
        "a.png": 0.5,
        "b.png": 2,
        "c.tif": 0.5,
        "sub/d.png": 2,
    }
    assert summary["warning"].dropna().to_dict() == {"a.png": UNFAMILIAR, "c.tif": UNFAMILIAR}


def test_an_output_that_cannot_be_written_ends_the_run(job, bright_is_nucleus):
    (job().output / "a.csv").mkdir()
    with pytest.raises(OSError, match=r"a\.csv"):
        predict_images(job(), bright_is_nucleus())
