"""Every format is read back by the library its readers use, and gives the same masks and counts."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import roifile
import shapely
from pycocotools.coco import COCO

from nucdet.export import (
    PlaneNuclei,
    RoiPlane,
    write_coco,
    write_geojson,
    write_kaggle,
    write_label_image,
    write_nuclei,
    write_rois,
    write_summary,
    write_table,
)
from nucdet.structures import CroppedMasks


def fill(polygon: shapely.Geometry, size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return shapely.contains_xy(polygon, x + 0.5, y + 0.5)


# --- GeoJSON


@pytest.fixture
def table():
    return pd.DataFrame({"id": range(1, 8), "area_px": 1.5, "score": 0.5, "eccentricity": np.nan})


def test_geojson_gives_the_masks(tmp_path, masks, labels, table):
    write_geojson(tmp_path / "a.geojson", [PlaneNuclei(masks, ["nucleus"] * 7, table)])
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert len(content["features"]) == 7
    for number, feature in enumerate(content["features"], 1):
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid
        assert np.array_equal(fill(geometry, labels.shape), labels == number)
        rings = feature["geometry"]["coordinates"]
        rings = rings if geometry.geom_type == "Polygon" else [*rings[0], *rings[1]]
        assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in rings)
    kinds = [feature["geometry"]["type"] for feature in content["features"]]
    assert kinds == ["Polygon", "Polygon", "MultiPolygon", *["Polygon"] * 4]


def test_geojson_says_what_qupath_reads(tmp_path, masks, table):
    write_geojson(tmp_path / "a.geojson", [PlaneNuclei(masks, ["nucleus"] * 7, table)])
    feature = json.loads((tmp_path / "a.geojson").read_text())["features"][2]
    assert feature["type"] == "Feature"
    properties = feature["properties"]
    assert properties["objectType"] == "detection"
    assert properties["name"] == "3"
    assert properties["classification"]["name"] == "nucleus"
    assert properties["measurements"] == {"area_px": 1.5, "score": 0.5}


def test_names_of_classes_are_quoted_in_geojson(tmp_path, masks, table):
    name = '"}},</script><script>alert(1)//'
    write_geojson(tmp_path / "a.geojson", [PlaneNuclei(masks, [name] * 7, table)])
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert {feature["properties"]["classification"]["name"] for feature in features} == {name}


def test_geojson_without_masks_is_an_empty_collection(tmp_path, no_masks, table):
    write_geojson(tmp_path / "a.geojson", [PlaneNuclei(no_masks, [], table[:0])])
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []


# --- ImageJ


def test_rois_give_the_masks(tmp_path, masks, labels):
    write_rois(tmp_path / "a.zip", [RoiPlane(masks)], len(masks))
    rois = roifile.roiread(tmp_path / "a.zip")
    assert [roi.name for roi in rois] == [f"{i:04}" for i in range(1, 8)]
    for number, roi in enumerate(rois, 1):
        # even-odd: an outline inside another is a hole
        inside = np.zeros(labels.shape, bool)
        for ring in roi.coordinates(multi=True):
            inside ^= fill(shapely.Polygon(ring), labels.shape)
        assert np.array_equal(inside, labels == number), number
        y, x = np.nonzero(labels == number)
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert (roi.left, roi.top, roi.right, roi.bottom) == box


def test_a_plain_nucleus_is_a_traced_polygon_others_are_composite(tmp_path, masks):
    write_rois(tmp_path / "a.zip", [RoiPlane(masks)], len(masks))
    rois = roifile.roiread(tmp_path / "a.zip")
    assert [roi.composite for roi in rois] == [False, True, True, False, False, False, True]
    assert rois[0].roitype == roifile.ROI_TYPE.TRACED


def test_rois_far_out_in_a_large_image(tmp_path):
    corner = CroppedMasks(np.array([[70_000, 65_000]]), [np.ones((2, 3), bool)], (80_000, 80_000))
    write_rois(tmp_path / "a.zip", [RoiPlane(corner)], len(corner))
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert roi.coordinates().tolist() == [
        [65_000, 70_000],
        [65_003, 70_000],
        [65_003, 70_002],
        [65_000, 70_002],
    ]


def test_rois_without_masks_is_an_empty_zip(tmp_path, no_masks):
    write_rois(tmp_path / "a.zip", [RoiPlane(no_masks)], len(no_masks))
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == []


def test_rois_hold_no_date_of_today(tmp_path, masks):
    write_rois(tmp_path / "a.zip", [RoiPlane(masks)], len(masks))
    dates = {member.date_time for member in zipfile.ZipFile(tmp_path / "a.zip").infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}


# --- COCO and Kaggle, over several images


@pytest.fixture
def records(make_record, masks, no_masks):
    return [make_record("a", masks), make_record("sub/b", no_masks), make_record("sub/c", masks)]


def test_coco_gives_the_masks(tmp_path, records, labels):
    write_coco(tmp_path / "all.json", records)
    coco = COCO(tmp_path / "all.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        "a.png",
        "sub/b.png",
        "sub/c.png",
    ]
    assert [len(coco.getAnnIds(i, iscrowd=False)) for i in (1, 2, 3)] == [7, 0, 7]
    for number, annotation in enumerate(coco.loadAnns(coco.getAnnIds(3)), 1):
        mask = coco.annToMask(annotation)
        assert np.array_equal(mask, labels == number)
        assert annotation["area"] == mask.sum()
        y, x = np.nonzero(mask)
        assert annotation["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
        assert coco.loadCats(annotation["category_id"])[0]["name"] == "nucleus"


def test_coco_annotations_are_results(tmp_path, records):
    write_coco(tmp_path / "all.json", records)
    coco = COCO(tmp_path / "all.json")
    results = coco.loadRes(coco.dataset["annotations"])
    assert [a["score"] for a in results.loadAnns(results.getAnnIds(1))] == records[0].scores


def test_kaggle_gives_the_masks(tmp_path, records, labels):
    write_kaggle(tmp_path / "kaggle.csv", records)
    frame = pd.read_csv(tmp_path / "kaggle.csv", keep_default_na=False)
    assert frame["ImageId"].value_counts().to_dict() == {"a": 7, "b": 1, "c": 7}
    codes = frame.loc[frame["ImageId"] == "c", "EncodedPixels"].tolist()
    back = CroppedMasks.from_kaggle_rle(codes, labels.shape)
    assert np.array_equal(back.to_label_map(), labels)
    assert frame.loc[frame["ImageId"] == "b", "EncodedPixels"].tolist() == [""]


def test_kaggle_tells_equal_names_in_two_folders_apart(tmp_path, make_record, masks):
    records = [make_record(name, masks[:1]) for name in ("day1/a", "day2/a", "day2/b")]
    write_kaggle(tmp_path / "kaggle.csv", records)
    assert pd.read_csv(tmp_path / "kaggle.csv")["ImageId"].tolist() == ["day1/a", "day2/a", "b"]


def test_kaggle_is_utf8_where_the_system_has_another_encoding(
    tmp_path, make_record, masks, monkeypatch
):
    monkeypatch.setattr("io.text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")
    write_kaggle(tmp_path / "kaggle.csv", [make_record("µ", masks[:1])])
    assert pd.read_csv(tmp_path / "kaggle.csv", encoding="utf-8")["ImageId"].tolist() == ["µ"]


# --- tables


def test_summary_of_areas_known_by_hand(tmp_path, make_record, masks, no_masks):
    strange = {"familiarity": 0.8, "warning": "check"}
    records = [replace(make_record("b", masks[[0, 3]]), **strange), make_record("c", no_masks)]
    failures = {"a.png": "damaged"}
    write_summary(tmp_path / "s.csv", records, failures)
    frame = pd.read_csv(tmp_path / "s.csv", keep_default_na=False, dtype=str)
    assert frame.to_dict("list") == {
        "image": ["a.png", "b.png", "c.png"],
        "width": ["", "12", "4"],
        "height": ["", "7", "5"],
        "nuclei": ["", "2", "0"],
        "median_area_px": ["", "3.5", ""],  # of 6 and 1 pixels
        "mean_area_px": ["", "3.5", ""],
        "std_area_px": ["", "2.5", ""],
        "coverage": ["", "0.0833333", "0"],  # 7 of 84
        "mean_score": ["", "0.53125", ""],
        "familiarity": ["", "0.8", ""],
        "warning": ["", "check", ""],
        "error": ["damaged", "", ""],
    }


def test_summary_in_micrometres(tmp_path, make_record, masks):
    write_summary(tmp_path / "s.csv", [make_record("b", masks[:1], pixel_size=0.5)])
    assert pd.read_csv(tmp_path / "s.csv")["mean_area_um2"].tolist() == [1.5]


def test_table_is_read_back(tmp_path, table):
    write_table(tmp_path / "a.csv", table)
    back = pd.read_csv(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(back, table)


def test_the_tables_of_all_images_become_one(tmp_path):
    grey = pd.DataFrame({"id": [1, 2], "area_px": [10, 20], "mean_intensity": [0.1, 1e6]})
    color = pd.DataFrame({"id": [1], "area_px": [30], "mean_intensity_r": [5.0]})
    nothing = pd.DataFrame(columns=["id", "area_px", "mean_intensity"])
    tables = {"b.png": grey, "sub/ü, 1.png": color, "empty.png": nothing}
    paths = {name: tmp_path / f"{i}.csv" for i, name in enumerate(tables)}
    for name, path in paths.items():
        write_table(path, tables[name])
    write_nuclei(tmp_path / "nuclei.csv", paths)
    assert (tmp_path / "nuclei.csv").read_text(encoding="utf-8").splitlines() == [
        "image,id,area_px,mean_intensity,mean_intensity_r",
        "b.png,1,10,0.1,",
        "b.png,2,20,1e+06,",
        '"sub/ü, 1.png",1,30,,5',
    ]
    write_nuclei(tmp_path / "nuclei.csv", {})
    assert (tmp_path / "nuclei.csv").read_text() == "image\n"


def test_the_same_masks_give_the_same_bytes(tmp_path, masks, records, table):
    def write(folder):
        write_label_image(folder / "a.tif", masks, 0.3)
        write_rois(folder / "a.zip", [RoiPlane(masks)], len(masks))
        write_geojson(folder / "a.geojson", [PlaneNuclei(masks, ["nucleus"] * 7, table)])
        write_coco(folder / "a.json", records)
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert write(tmp_path / "1") == write(tmp_path / "2")


def test_no_name_is_a_formula_for_a_spreadsheet(tmp_path, make_record, no_masks):
    names = ["=HYPERLINK(0).png", "+1.png", "-1.png", "@SUM(A1).png", "a=b.png"]
    write_summary(
        tmp_path / "s.csv",
        [make_record("x", no_masks, file_name=name) for name in names],
        {"=fail.png": "-1.png: cut short"},
    )
    summary = pd.read_csv(tmp_path / "s.csv")
    assert set(summary["image"]) == {f"'{name}" for name in [*names[:4], "=fail.png"]} | {"a=b.png"}
    assert summary["error"].dropna().tolist() == ["'-1.png: cut short"]
    write_table(tmp_path / "t.csv", pd.DataFrame({"id": [1], "class": ["@x"], "area_px": [-2.5]}))
    write_nuclei(tmp_path / "n.csv", {"=1+1.png": tmp_path / "t.csv"})
    assert (tmp_path / "n.csv").read_text() == "image,id,class,area_px\n'=1+1.png,1,'@x,-2.5\n"
