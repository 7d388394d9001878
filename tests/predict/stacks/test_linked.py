"""Nuclei that are linked from plane to plane, from file to files."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
from pycocotools.coco import COCO

from nucdet.errors import InputError
from nucdet.predict import reading
from nucdet.predict.run import predict_images

# numbers of the film's nuclei, by (time, z)
NUMBERS = {
    "z": {(0, 0): [1], (0, 1): [1, 2], (1, 0): [], (1, 1): [3]},
    "time": {(0, 0): [1], (0, 1): [2, 3], (1, 0): [], (1, 1): [2]},
}


@pytest.mark.parametrize("link", ["z", "time"])
def test_a_nucleus_has_one_number_in_every_file(job, film, bright_is_nucleus, link):
    predict_images(job(link=link), bright_is_nucleus())
    out, numbers = job().output, NUMBERS[link]
    labels = np.zeros((2, 2, *film.size), np.uint16)
    for place, boxes in film.nuclei.items():
        for box, number in zip(boxes, numbers[place], strict=True):
            labels[place][box] = number
    np.testing.assert_array_equal(tifffile.imread(out / "film_label.ome.tif"), labels)

    every = [(place, number) for place, here in numbers.items() for number in here]
    features = json.loads((out / "film.geojson").read_text())["features"]
    assert [f["properties"]["name"] for f in features] == [str(number) for _, number in every]
    # a nucleus has a ROI on each of its planes
    rois = roifile.roiread(out / "film_rois.zip")
    assert [roi.name for roi in rois] == [f"{n:04}_t000{t}_z000{z}" for (t, z), n in every]
    coco = COCO(out / "predictions_coco.json")
    assert [a["nucleus_id"] for a in coco.loadAnns(coco.getAnnIds())] == [n for _, n in every]
    # the table of the page
    assert f'"columns":{{"id":{json.dumps(numbers[0, 1], separators=(",", ":"))},' in (
        out / "report.html"
    ).read_text(encoding="utf-8")


def test_nuclei_followed_in_time_have_a_row_for_each_time(job, bright_is_nucleus):
    predict_images(job(link="time", save=("csv",)), bright_is_nucleus())
    table = pd.read_csv(job().output / "film.csv")
    assert table[["id", "time", "z"]].values.tolist() == [
        [1, 0, 0],
        [2, 0, 1],
        [3, 0, 1],
        [2, 1, 1],
    ]


def test_nuclei_joined_in_depth_have_one_row_with_their_volume(
    job, film, bright_is_nucleus, tmp_path
):
    depth = {"PhysicalSizeZ": 3000, "PhysicalSizeZUnit": "nm"}
    film.write(tmp_path / "images/film.ome.tif", film.pixels, **depth)
    predict_images(job(link="z"), bright_is_nucleus())
    out = job().output
    table = pd.read_csv(out / "film.csv")
    depths = table[["id", "time", "z", "z_first", "z_last", "sections", "volume_voxels"]]
    assert depths.values.tolist() == [
        [1, 0, 1, 0, 1, 2, 9 + 16],  # z and the shape are those of the larger section
        [2, 0, 1, 1, 1, 1, 25],
        [3, 1, 1, 1, 1, 1, 12],
    ]
    assert table.columns.tolist()[1:8] == ["time", *depths.columns[2:], "volume_um3"]
    assert table["area_um2"].tolist() == [4, 6.25, 3]
    assert table["volume_um3"].tolist() == [25 * 0.75, 25 * 0.75, 12 * 0.75]
    # DAPI is 200 in nuclei and 10 around them; GFP 20 and 30 at the first time
    assert table["volume_integrated_intensity_DAPI"].tolist() == [25 * 200, 25 * 200, 12 * 200]
    assert table["volume_net_integrated_intensity_DAPI"].tolist() == [25 * 190, 25 * 190, 12 * 190]
    assert table["volume_integrated_intensity_GFP"].tolist() == [
        9 * 20 + 16 * 30,
        25 * 30,
        12 * 130,
    ]
    assert table["integrated_intensity_GFP"].tolist() == [16 * 30, 25 * 30, 12 * 130]
    pd.testing.assert_frame_equal(pd.read_csv(out / "nuclei.csv").drop(columns="image"), table)
    with tifffile.TiffFile(out / "film_label.ome.tif") as tiff:
        assert 'PhysicalSizeZ="3.0" PhysicalSizeZUnit="µm"' in tiff.ome_metadata
    # each plane of the summary has its sections
    assert pd.read_csv(out / "summary.csv")["nuclei"].tolist() == [1, 2, 0, 1]


def test_without_nuclei_the_table_has_the_same_columns(job, film, bright_is_nucleus, tmp_path):
    predict_images(job(link="z"), bright_is_nucleus())
    columns = pd.read_csv(job().output / "film.csv").columns.tolist()
    film.write(tmp_path / "images/film.ome.tif", np.minimum(film.pixels, 20))
    predict_images(job(link="z"), bright_is_nucleus())
    table = pd.read_csv(job().output / "film.csv")
    assert table.columns.tolist() == columns and len(table) == 0


@pytest.mark.parametrize("link", ["z", "time"])
def test_a_killed_run_goes_on_with_the_same_numbers(
    job, monkeypatch, bright_is_nucleus, contents, link
):
    monkeypatch.setattr(reading, "_TOGETHER", 1)
    predict_images(job("whole", link=link), bright_is_nucleus())
    for stop in [(0, 1), (1, 0), (1, 1)]:
        name = f"stopped at {stop}"
        with pytest.raises(KeyboardInterrupt):
            predict_images(job(name, link=link), bright_is_nucleus(stop_at=stop))
        predict_images(job(name, link=link, resume=True), bright_is_nucleus())
        assert contents(job(name).output) == contents(job("whole").output)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"link": "z", "z": "max"}, "--link z: --z is max; expected --z all"),
        ({"link": "time", "time": None}, "--link time: --time is not given; expected --time all"),
        ({"link": "t"}, "--link t: expected z or time"),
    ],
)
def test_linking_needs_all_planes_of_the_axis(job, changes, found):
    with pytest.raises(InputError, match=found):
        job(**changes)
