"""Stacks from file to files, with a predictor that takes what is bright for nuclei."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from nucdet.data.io.planes import open_planes
from nucdet.errors import InputError
from nucdet.predict import Prediction, reading
from nucdet.predict.files import find_inputs
from nucdet.predict.formats import FORMATS
from nucdet.predict.job import Job
from nucdet.predict.options import PredictOptions
from nucdet.predict.run import predict_images
from nucdet.structures import CroppedMasks

SIZE = (20, 30)
# rows, columns of the nuclei in each plane of the film, (time, z)
NUCLEI = {
    (0, 0): [np.s_[2:5, 2:5]],
    (0, 1): [np.s_[2:6, 2:6], np.s_[10:15, 20:25]],
    (1, 0): [],
    (1, 1): [np.s_[3:6, 3:7]],
}
GROUND = 10


class BrightIsNucleus:
    """Stands for Segmenter; ``seen`` are the planes that it was asked for."""

    class_names = ("nucleus",)
    open = staticmethod(open_planes)

    def __init__(self, stop_at: tuple[int, int] | None = None, error: type = KeyboardInterrupt):
        self.seen: list[tuple] = []
        self._stop_at, self._error = stop_at, error

    def __call__(self) -> BrightIsNucleus:
        return self

    def predict_windows(self, sources, diameter=None, progress=None):
        if any(source.place == self._stop_at for source in sources):
            raise self._error("as the test wants")
        self.seen += [source.place for source in sources]
        return [self._predict(source) for source in sources]

    def _predict(self, source):
        values = source.values(source.whole())
        bright = (values if values.ndim == 2 else values.max(axis=2)) > 50
        masks = CroppedMasks.from_label_map(ndimage.label(bright)[0])
        fields = {
            "pred_masks": masks,
            "pred_boxes": Boxes(torch.from_numpy(masks.boxes)),
            "scores": torch.full((len(masks),), 0.75),
            "pred_classes": torch.zeros(len(masks), dtype=torch.int64),
        }
        return Prediction(Instances(masks.image_size, **fields), source)


def film_pixels() -> np.ndarray:
    """(T, C, Z, Y, X): nuclei of 200 in channel 1; channel 0 is 20 + 10 z + 100 t all over."""
    pixels = np.full((2, 2, 2, *SIZE), GROUND, np.uint8)
    for (time, z), boxes in NUCLEI.items():
        pixels[time, 0, z] = 20 + 10 * z + 100 * time
        for box in boxes:
            pixels[time, 1, z][box] = 200
    return pixels


def write_film(path, pixels, axes="TCZYX"):
    metadata = {"axes": axes, "Channel": {"Name": ["GFP", "DAPI"]}}
    metadata |= {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata, photometric="minisblack")


@pytest.fixture
def job(tmp_path):
    """A job on film.ome.tif, all planes of channel DAPI, all formats; fields may be changed."""
    images = tmp_path / "images"
    images.mkdir()
    write_film(images / "film.ome.tif", film_pixels())

    def make(output="out", **changes):
        out = tmp_path / output
        out.mkdir(exist_ok=True)
        options = {"save": tuple(FORMATS), "channel": "DAPI", "z": "all", "time": "all"}
        files = tuple(find_inputs([str(images)], out))
        return Job(PredictOptions(out, **options | changes), files, "s")

    return make


def contents(folder) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files}


def expected_labels() -> np.ndarray:
    """(T, Z, Y, X): numbers count through the planes, in their order."""
    labels = np.zeros((2, 2, *SIZE), np.uint16)
    number = 0
    for place, boxes in NUCLEI.items():
        for box in boxes:
            number += 1
            labels[place][box] = number
    return labels


def test_all_planes_become_one_stack_of_labels_and_one_table(job):
    predict_images(job(), BrightIsNucleus())
    out = job().output
    with tifffile.TiffFile(out / "film_label.ome.tif") as tiff:
        assert tiff.is_ome and tiff.series[0].axes == "TZYX"
        assert 'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm"' in tiff.ome_metadata
        np.testing.assert_array_equal(tiff.asarray(), expected_labels())
        assert tiff.asarray().dtype == np.uint16
    table = pd.read_csv(out / "film.csv")
    assert table[["id", "time", "z"]].values.tolist() == [
        [1, 0, 0],
        [2, 0, 1],
        [3, 0, 1],
        [4, 1, 1],
    ]
    assert table["area_um2"].tolist() == [9 / 4, 16 / 4, 25 / 4, 12 / 4]
    # every channel of the same plane
    assert table["mean_intensity_GFP"].tolist() == [20, 30, 30, 130]
    assert table["mean_intensity_DAPI"].tolist() == [200] * 4
    assert table["net_mean_intensity_DAPI"].tolist() == [190] * 4
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "nuclei.csv").drop(columns="image"), table, check_dtype=False
    )


def test_every_format_says_the_plane(job):
    predict_images(job(), BrightIsNucleus())
    out = job().output
    overlays = {f"film_overlay/t000{t}_z000{z}.png" for t, z in NUCLEI}
    files = {"film_label.ome.tif", "film.csv", "film.geojson", "film_rois.zip"}
    shared = {"summary.csv", "nuclei.csv", "report.html", "predictions_coco.json", "kaggle.csv"}
    records = {".records/film.json", ".records/film.jsonl"}
    assert set(contents(out)) == overlays | files | shared | records
    with Image.open(out / "film_overlay/t0001_z0001.png") as overlay:
        assert overlay.width % SIZE[1] == overlay.height % SIZE[0] == 0

    features = json.loads((out / "film.geojson").read_text())["features"]
    planes = [feature["geometry"].get("plane") for feature in features]
    second = {"c": -1, "z": 1, "t": 0}
    assert planes == [None, second, second, {"c": -1, "z": 1, "t": 1}]
    assert [feature["properties"]["name"] for feature in features] == ["1", "2", "3", "4"]
    assert features[2]["properties"]["measurements"]["area_um2"] == 6.25
    assert "z" not in features[2]["properties"]["measurements"]

    rois = roifile.roiread(out / "film_rois.zip")
    assert [roi.name for roi in rois] == ["0001", "0002", "0003", "0004"]
    places = [(roi.t_position, roi.z_position, roi.position) for roi in rois]
    assert places == [(1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 4)]  # ImageJ counts from 1

    coco = COCO(out / "predictions_coco.json")
    images = coco.loadImgs(coco.getImgIds())
    assert [(i["file_name"], i["time"], i["z"]) for i in images] == [
        ("film.ome.tif", *place) for place in NUCLEI
    ]
    assert [len(coco.getAnnIds(i["id"])) for i in images] == [1, 2, 0, 1]
    kaggle = pd.read_csv(out / "kaggle.csv")["ImageId"].tolist()
    names = [f"film_t000{t}_z000{z}" for t, z in NUCLEI]
    assert kaggle == [names[0], names[1], names[1], names[2], names[3]]

    summary = pd.read_csv(out / "summary.csv")
    assert summary[["time", "z", "nuclei"]].values.tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 0, 0],
        [1, 1, 1],
    ]
    assert summary["pixel_size_um"].tolist() == [0.5] * 4
    page = (out / "report.html").read_text()
    assert "4 nuclei in 4 images" in page and '"name":"film.ome.tif t1 z1"' in page
    # the table of the page has the numbers of the label image
    assert '"columns":{"id":[2,3],' in page


@pytest.mark.parametrize(
    ("choice", "axes", "counts"),
    [
        ({"time": 0}, "ZYX", [1, 2]),
        ({"z": 1}, "TYX", [2, 1]),
        ({"z": "max"}, "TYX", [2, 1]),
    ],
)
def test_one_axis_of_all(job, choice, axes, counts):
    made = job(**choice)
    predict_images(made, BrightIsNucleus())
    with tifffile.TiffFile(made.output / "film_label.ome.tif") as tiff:
        assert tiff.series[0].axes == axes
        labels = tiff.asarray()
    assert [len(np.unique(plane)) - 1 for plane in labels] == counts
    table = pd.read_csv(made.output / "film.csv")
    if choice == {"z": "max"}:
        assert table["z"].tolist() == ["max"] * 3
        assert table["mean_intensity_GFP"].tolist() == [30, 30, 130]
    position = [roi.position for roi in roifile.roiread(made.output / "film_rois.zip")]
    assert position == np.repeat([1, 2], counts).tolist()


def test_composite_with_nuclei_in_one_channel(job):
    """One plane alone gives the files of an image, and measures both channels."""
    made = job(z=1, time=1)
    predict_images(made, BrightIsNucleus())
    labels = tifffile.imread(made.output / "film_label.tif")
    np.testing.assert_array_equal(labels > 0, expected_labels()[1, 1] > 0)
    row = pd.read_csv(made.output / "film.csv").loc[0]
    assert (row["id"], row["time"], row["z"]) == (1, 1, 1)
    assert (row["mean_intensity_GFP"], row["mean_intensity_DAPI"]) == (130, 200)
    assert "time" not in pd.read_csv(made.output / "summary.csv")
    made = job("one", z=1, time=1, measure_channels=("GFP",))
    predict_images(made, BrightIsNucleus())
    columns = pd.read_csv(made.output / "film.csv").columns
    assert [name for name in columns if name.startswith("mean_intensity")] == ["mean_intensity_GFP"]


def test_one_image_among_stacks_is_an_image(job, tmp_path):
    grey = np.zeros(SIZE, np.uint8)
    grey[2:4, 2:4] = 255
    Image.fromarray(grey).save(tmp_path / "images" / "grey.png")
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "images" / "rgb.png")
    made = job(channel=1)
    predict_images(made, BrightIsNucleus())
    assert {"grey_label.tif", "grey_overlay.png", "rgb_label.tif"} <= set(contents(made.output))
    table = pd.read_csv(made.output / "nuclei.csv")
    assert table["image"].tolist() == ["film.ome.tif"] * 4 + ["grey.png", "rgb.png"]
    # units differ: each row has its own
    assert table["area_um2"].notna().tolist() == [True] * 4 + [False] * 2
    summary = pd.read_csv(made.output / "summary.csv")
    assert summary["median_area_um2"].dropna().tolist() == [2.25, 5.125, 3]
    assert summary["median_area_px"].dropna().tolist() == [4, 4]
    assert summary["pixel_size_um"].isna().tolist() == [False] * 4 + [True] * 2
    page = (made.output / "report.html").read_text()
    assert '"unit":"px"' in page
    assert "0.5 µm, of the files; unknown for 2 of 3: areas in pixels" in page


def test_pixel_sizes_of_the_files_reach_summary_and_report(job, tmp_path):
    tifffile.imwrite(
        tmp_path / "images" / "other.ome.tif",
        film_pixels()[0, 1, 0],
        ome=True,
        metadata={"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0},
    )
    made = job(z=0, time=0)
    predict_images(made, BrightIsNucleus())
    summary = pd.read_csv(made.output / "summary.csv")
    assert summary["median_area_um2"].tolist() == [9 / 4, 9 * 4]
    assert "median_area_px" not in summary
    page = (made.output / "report.html").read_text()
    assert '"unit":"µm²"' in page and '"areas":[2.25]' in page and '"areas":[36]' in page
    assert "0.5 µm to 2 µm, each file its own" in page


@pytest.mark.parametrize("together", [1, 3, 8])
def test_a_killed_run_goes_on_at_the_plane_where_it_stopped(job, monkeypatch, together):
    predict_images(job("whole"), BrightIsNucleus())
    monkeypatch.setattr(reading, "_TOGETHER", together)
    with pytest.raises(KeyboardInterrupt):
        predict_images(job(), BrightIsNucleus(stop_at=(1, 0)))
    left = contents(job().output)
    assert not any(name.endswith((".tif", ".csv", "film.json")) for name in left)
    again = BrightIsNucleus()
    predict_images(job(resume=True), again)
    done = {1: 2, 3: 0, 8: 0}[together]
    assert again.seen == list(NUCLEI)[done:]
    assert contents(job().output) == contents(job("whole").output)
    nothing = BrightIsNucleus()
    predict_images(job(resume=True), nothing)
    assert nothing.seen == []


def _cut(path):
    os.truncate(path, path.stat().st_size - 5)


def _change_a_digit(path):
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"areas": [16', b'"areas": [17')
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("name", "damage", "redone"),
    [
        (".records/film.jsonl", _cut, 1),
        (".records/film.jsonl", _change_a_digit, 3),
        (".records/film.jsonl", lambda path: path.unlink(), 4),
        ("film_overlay/t0001_z0000.png", lambda path: path.unlink(), 2),
        ("film_overlay/t0001_z0001.png", _cut, 1),
        ("film_label.ome.tif", lambda path: path.unlink(), 0),
        ("film.csv", _cut, 0),
        (".records/film.json", lambda path: path.unlink(), 0),
    ],
)
def test_resume_makes_again_what_is_damaged(job, name, damage, redone):
    predict_images(job(), BrightIsNucleus())
    whole = contents(job().output)
    before = (job().output / name).read_bytes()
    damage(job().output / name)
    assert not (job().output / name).exists() or (job().output / name).read_bytes() != before
    again = BrightIsNucleus()
    predict_images(job(resume=True), again)
    assert again.seen == list(NUCLEI)[4 - redone :]
    assert contents(job().output) == whole


def test_formats_are_added_without_predicting(job):
    predict_images(job("all"), BrightIsNucleus())
    predict_images(job(save=()), BrightIsNucleus())
    again = BrightIsNucleus()
    predict_images(job(save=("label", "csv", "geojson", "roi"), resume=True), again)
    assert again.seen == []
    for name in ("film_label.ome.tif", "film.csv", "film.geojson", "film_rois.zip"):
        assert (job().output / name).read_bytes() == (job("all").output / name).read_bytes()


@pytest.mark.parametrize("together", [1, 8])
def test_a_plane_that_fails_ends_its_file_and_no_other(
    job, tmp_path, monkeypatch, capsys, together
):
    monkeypatch.setattr(reading, "_TOGETHER", together)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "images" / "grey.png")
    predict_images(job(), BrightIsNucleus(stop_at=(1, 0), error=InputError))
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("failed:")]
    assert line.endswith("film.ome.tif: plane 3 of 4: as the test wants")
    summary = pd.read_csv(job().output / "summary.csv").set_index("image")
    assert summary["error"].dropna().to_dict() == {
        "film.ome.tif": "plane 3 of 4: as the test wants"
    }
    assert not list(job().output.glob("film*.tif"))
    again = BrightIsNucleus()
    predict_images(job(resume=True), again)
    assert again.seen == list(NUCLEI)[2:]
    assert len(pd.read_csv(job().output / "film.csv")) == 4


def test_a_damaged_plane_is_named(job, tmp_path, capsys):
    path = tmp_path / "images" / "film.ome.tif"
    tifffile.imwrite(
        path,
        film_pixels()[0, 1],
        ome=True,
        metadata={"axes": "ZYX"},
        compression="zlib",
        photometric="minisblack",
    )
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[1].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * 8)
    made = job(save=("label",))
    predict_images(made, BrightIsNucleus())
    assert "film.ome.tif: plane 2 of 2: damaged" in capsys.readouterr().err
    assert not list(made.output.glob("*.tif"))


def test_what_a_killed_run_left_of_an_overlay_is_removed(job):
    predict_images(job(), BrightIsNucleus())
    whole = contents(job().output)
    (job().output / "film_overlay" / ".t0001_z0001-k3_x9abz.png").write_bytes(b"x")
    (job().output / "film_overlay" / ".mine.png").write_bytes(b"x")
    job(resume=True).clean_up()
    assert contents(job().output) == whole | {"film_overlay/.mine.png": b"x"}


def test_bad_choices_are_one_line(job, capsys):
    for changes, complaint in (
        ({"z": 2}, "no number 2 among its depths, 0 to 1"),
        ({"time": None}, "holds 2 times; choose with --time all or K"),
        ({"channel": None}, "holds 2 channels (0 GFP, 1 DAPI)"),
        ({"channel": 2}, "no channel 2; its channels are 0 GFP, 1 DAPI"),
        (
            {"measure_channels": ("Cy5",)},
            "no channel 'Cy5' to measure; the image has 0 GFP",
        ),
    ):
        predict_images(job(**changes), BrightIsNucleus())
        (line,) = [x for x in capsys.readouterr().err.splitlines() if "failed:" in x]
        assert complaint in line
    for changes, complaint in (
        ({"z": "top"}, "--z top: expected max, mean, all or a number from 0"),
        ({"time": "mean"}, "--time mean: expected all or a number from 0"),
    ):
        with pytest.raises(InputError, match=complaint):
            job(**changes)
