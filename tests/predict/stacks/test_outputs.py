"""Stacks from file to files: labels, tables, and what each format says of the planes."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
from PIL import Image
from pycocotools.coco import COCO

from nucdet.predict.formats import FORMATS, ImageFormat
from nucdet.predict.run import predict_images


def labels_of(film) -> np.ndarray:
    """(T, Z, Y, X): numbers count through the planes, in their order."""
    labels = np.zeros((2, 2, *film.size), np.uint16)
    number = 0
    for place, boxes in film.nuclei.items():
        for box in boxes:
            number += 1
            labels[place][box] = number
    return labels


def test_all_planes_become_one_stack_of_labels_and_one_table(job, bright_is_nucleus, film):
    predict_images(job(), bright_is_nucleus())
    out = job().output
    with tifffile.TiffFile(out / "film_label.ome.tif") as tiff:
        assert tiff.is_ome and tiff.series[0].axes == "TZYX"
        assert 'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm"' in tiff.ome_metadata
        np.testing.assert_array_equal(tiff.asarray(), labels_of(film))
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


def test_formats_from_outside_have_a_file_for_each_plane(
    job, film, bright_is_nucleus, contents, monkeypatch
):
    def write(path, outputs):
        path.write_text(str(len(outputs.masks)))

    for name, ending in (("one", ".txt"), ("two", ".csv"), ("three", "_3.txt")):
        monkeypatch.setitem(FORMATS, name, ImageFormat(ending, "number of nuclei", write))
    predict_images(job(save=("one", "two", "three")), bright_is_nucleus())
    planes = [f"t000{t}_z000{z}" for t, z in film.nuclei]
    written = contents(job().output)
    for expected in ("film/{}.txt", "film/{}.csv", "film_3/{}.txt"):
        numbers = [int(written[expected.format(plane)]) for plane in planes]
        assert numbers == [len(boxes) for boxes in film.nuclei.values()]


def test_every_format_says_the_plane(job, film, bright_is_nucleus, contents):
    predict_images(job(), bright_is_nucleus())
    out = job().output
    overlays = {f"film_overlay/t000{t}_z000{z}.png" for t, z in film.nuclei}
    files = {"film_label.ome.tif", "film.csv", "film.geojson", "film_rois.zip"}
    shared = {"summary.csv", "nuclei.csv", "report.html", "predictions_coco.json", "kaggle.csv"}
    records = {f".records/{name}" for name in ("film.json", "film.jsonl", "summary.json")}
    assert set(contents(out)) == overlays | files | shared | records
    with Image.open(out / "film_overlay/t0001_z0001.png") as overlay:
        assert overlay.width % film.size[1] == overlay.height % film.size[0] == 0

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
        ("film.ome.tif", *place) for place in film.nuclei
    ]
    assert [len(coco.getAnnIds(i["id"])) for i in images] == [1, 2, 0, 1]
    kaggle = pd.read_csv(out / "kaggle.csv")["ImageId"].tolist()
    names = [f"film_t000{t}_z000{z}" for t, z in film.nuclei]
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
def test_one_axis_of_all(job, choice, axes, counts, bright_is_nucleus):
    made = job(**choice)
    predict_images(made, bright_is_nucleus())
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


@pytest.mark.parametrize("axes", ["T", "Z"])
def test_rois_of_a_file_with_one_axis_have_their_number_in_the_stack(
    job, axes, bright_is_nucleus, film
):
    """ImageJ forgets the number where z or time is given, and knows these in hyperstacks only."""
    made = job()
    metadata = {"axes": f"{axes}CYX", "Channel": {"Name": ["GFP", "DAPI"]}}
    pixels = film.pixels[0].swapaxes(0, 1)
    tifffile.imwrite(made.files[0].path, pixels, ome=True, metadata=metadata)
    predict_images(made, bright_is_nucleus())
    rois = roifile.roiread(made.output / "film_rois.zip")
    places = [(roi.position, roi.z_position, roi.t_position) for roi in rois]
    assert places == [(1, 0, 0), (2, 0, 0), (2, 0, 0)]


def test_composite_with_nuclei_in_one_channel(job, bright_is_nucleus, film):
    """One plane alone gives the files of an image, and measures both channels."""
    made = job(z=1, time=1)
    predict_images(made, bright_is_nucleus())
    labels = tifffile.imread(made.output / "film_label.tif")
    np.testing.assert_array_equal(labels > 0, labels_of(film)[1, 1] > 0)
    row = pd.read_csv(made.output / "film.csv").loc[0]
    assert (row["id"], row["time"], row["z"]) == (1, 1, 1)
    assert (row["mean_intensity_GFP"], row["mean_intensity_DAPI"]) == (130, 200)
    assert "time" not in pd.read_csv(made.output / "summary.csv")
    made = job("one", z=1, time=1, measure_channels=("GFP",))
    predict_images(made, bright_is_nucleus())
    columns = pd.read_csv(made.output / "film.csv").columns
    assert [name for name in columns if name.startswith("mean_intensity")] == ["mean_intensity_GFP"]


def test_one_image_among_stacks_is_an_image(job, tmp_path, film, bright_is_nucleus, contents):
    grey = np.zeros(film.size, np.uint8)
    grey[2:4, 2:4] = 255
    Image.fromarray(grey).save(tmp_path / "images" / "grey.png")
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "images" / "rgb.png")
    made = job(channel=1)
    predict_images(made, bright_is_nucleus())
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


def test_pixel_sizes_of_the_files_reach_summary_and_report(job, tmp_path, film, bright_is_nucleus):
    tifffile.imwrite(
        tmp_path / "images" / "other.ome.tif",
        film.pixels[0, 1, 0],
        ome=True,
        metadata={"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0},
    )
    made = job(z=0, time=0)
    predict_images(made, bright_is_nucleus())
    summary = pd.read_csv(made.output / "summary.csv")
    assert summary["median_area_um2"].tolist() == [9 / 4, 9 * 4]
    assert "median_area_px" not in summary
    page = (made.output / "report.html").read_text()
    assert '"unit":"µm²"' in page and '"areas":[2.25]' in page and '"areas":[36]' in page
    assert "0.5 µm to 2 µm, each file its own" in page
