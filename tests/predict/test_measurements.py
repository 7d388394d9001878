"""Measurements against shapes whose answers are known, and against skimage on a label map."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from scipy import ndimage
from skimage.draw import disk, ellipse
from skimage.measure import regionprops_table

from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.predict import measurements
from nucdet.predict.measurements import Channels, measure
from nucdet.predict.prediction import Prediction
from nucdet.structures import CroppedMasks


def masks_of(labels: np.ndarray) -> CroppedMasks:
    return CroppedMasks.from_label_map(labels)


def grey(image: np.ndarray) -> Channels:
    return Channels.of_windows(ImageWindows(image))


def test_a_rectangle():
    labels = np.zeros((20, 30), int)
    labels[4:8, 10:20] = 1
    image = np.zeros((20, 30), np.uint16)
    image[4:8, 10:15] = 1000
    row = measure(masks_of(labels), grey(image), scores=np.array([0.7]), classes=["nucleus"]).loc[0]
    assert (row["id"], row["time"], row["z"], row["class"], row["score"]) == (
        1,
        0,
        0,
        "nucleus",
        0.7,
    )
    assert not row["touches_border"]
    assert (row["centroid_y_px"], row["centroid_x_px"]) == (5.5, 14.5)
    assert tuple(row[f"bbox_{side}_px"] for side in ("y0", "x0", "y1", "x1")) == (4, 10, 8, 20)
    assert (row["area_px"], row["solidity"], row["orientation_deg"]) == (40, 1, 0)
    assert (row["mean_intensity"], row["max_intensity"]) == (500, 1000)
    assert (row["integrated_intensity"], row["std_intensity"]) == (20_000, 500)


@pytest.mark.parametrize("radius", [10, 25, 60])
def test_a_disc(radius):
    labels = np.zeros((2 * radius + 11,) * 2, int)
    labels[disk((radius + 5, radius + 5), radius)] = 1
    row = measure(masks_of(labels)).loc[0]
    assert row["area_px"] == pytest.approx(math.pi * radius**2, rel=0.03)
    assert row["perimeter_px"] == pytest.approx(2 * math.pi * radius, rel=0.03)
    for name in ("equivalent_diameter_px", "major_axis_px", "minor_axis_px"):
        assert row[name] == pytest.approx(2 * radius, rel=0.02)
    assert 0.96 < row["circularity"] <= 1
    assert row["eccentricity"] < 0.1 and row["solidity"] > 0.96


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_an_ellipse_turned_counter_clockwise(angle):
    labels = np.zeros((151, 151), int)
    # half-axes of 20 pixels up and 50 to the right, before it is turned
    labels[ellipse(75, 75, 20, 50, rotation=math.radians(angle))] = 1
    row = measure(masks_of(labels)).loc[0]
    assert row["major_axis_px"] == pytest.approx(100, rel=0.01)
    assert row["minor_axis_px"] == pytest.approx(40, rel=0.02)
    turned = (row["orientation_deg"] - angle + 90) % 180 - 90
    assert turned == pytest.approx(0, abs=0.5)
    assert row["eccentricity"] == pytest.approx(math.sqrt(1 - 0.4**2), abs=0.005)
    # Ramanujan's perimeter of an ellipse
    around = math.pi * (3 * 70 - math.sqrt((3 * 50 + 20) * (50 + 3 * 20)))
    assert row["perimeter_px"] == pytest.approx(around, rel=0.03)
    assert row["circularity"] == pytest.approx(4 * math.pi * 1000 * math.pi / around**2, rel=0.06)


def test_a_ring_keeps_its_hole():
    labels = np.zeros((71, 71), int)
    labels[disk((35, 35), 30.5)] = 1
    labels[disk((35, 35), 15.5)] = 0
    row = measure(masks_of(labels)).loc[0]
    area = math.pi * (30.5**2 - 15.5**2)
    assert row["area_px"] == pytest.approx(area, rel=0.01)
    assert row["equivalent_diameter_px"] == pytest.approx(math.sqrt(4 * area / math.pi), rel=0.01)
    assert row["solidity"] == pytest.approx(1 - 15.5**2 / 30.5**2, rel=0.02)
    # both outlines count
    assert row["perimeter_px"] == pytest.approx(2 * math.pi * (30.5 + 15.5), rel=0.03)


def test_micrometres_are_the_only_unit_of_their_table():
    labels = np.zeros((20, 30), int)
    labels[4:8, 10:20] = 1
    pixels = measure(masks_of(labels))
    microns = measure(masks_of(labels), pixel_size=0.5)
    assert not [name for name in microns if name.endswith("_px")]
    assert not [name for name in pixels if "_um" in name]
    assert microns["area_um2"][0] == pixels["area_px"][0] / 4
    for name in ("perimeter", "centroid_x", "bbox_x0", "major_axis", "equivalent_diameter"):
        assert microns[f"{name}_um"][0] == pixels[f"{name}_px"][0] / 2
    for name in ("circularity", "orientation_deg", "eccentricity"):
        assert microns[name][0] == pixels[name][0]


@pytest.mark.parametrize("pixel_size", [0, -1, math.nan, math.inf, "0.3", 1e300])
def test_pixel_sizes_that_are_none(pixel_size):
    with pytest.raises(InputError, match=r"pixel_size .*: expected µm from 1e-05 to 1e\+06"):
        measure(masks_of(np.eye(3, dtype=int)), pixel_size=pixel_size)


def test_is_skimage_on_the_label_map():
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(120, 140)), 4)
    labels = ndimage.label(field > field.std())[0]
    image = rng.integers(0, 256, (120, 140, 3), dtype=np.uint8)
    ours = measure(masks_of(labels), Channels.of_windows(ImageWindows(image)))
    names = {
        "area_px": "area",
        "centroid_x_px": "centroid-1",
        "perimeter_px": "perimeter_crofton",
        "eccentricity": "eccentricity",
        "solidity": "solidity",
        "mean_intensity_b": "intensity_mean-2",
        "max_intensity_g": "intensity_max-1",
        "std_intensity_r": "intensity_std-0",
    }
    properties = {name.rpartition("-")[0] or name for name in names.values()}
    theirs = regionprops_table(labels, image, properties=sorted(properties))
    for name, their_name in names.items():
        np.testing.assert_allclose(ours[name], theirs[their_name], atol=1e-6, err_msg=name)
    assert len(ours) > 5


def channels_of(image, names=("",)):
    return Channels(tuple(names), lambda box: image[:, *box])


def test_background_is_the_median_around_where_no_nucleus_is():
    labels = np.zeros((60, 90), int)
    labels[20:40, 20:40], labels[20:40, 44:64] = 1, 2  # four pixels apart
    image = np.full((2, 60, 90), 10, np.uint16)
    image[0, labels == 1], image[0, labels == 2] = 110, 5000
    image[0, 17, 30] = 60_000  # dust: a median does not see it
    image[1, :, 41:43] = 700  # between the nuclei, in their gap
    table = measure(masks_of(labels), channels_of(image, ["DAPI", "Ki 67"]))
    assert table["background_intensity_DAPI"].tolist() == [10, 10]
    assert table["net_mean_intensity_DAPI"].tolist() == [100, 4990]
    assert table["net_integrated_intensity_DAPI"].tolist() == [40_000, 4990 * 400]
    assert table["background_intensity_Ki_67"].tolist() == [10, 10]
    assert table["net_mean_intensity_Ki_67"].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [np.uint16, np.float16])
def test_background_is_measured_by_exact_distances_and_in_64_bits(dtype):
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(150, 170)), 4)
    labels = ndimage.label(field > 1.2 * field.std())[0]
    image = (rng.random((1, 150, 170)) * 1000).astype(dtype)
    background = measure(masks_of(labels), channels_of(image))["background_intensity"]
    free = ndimage.distance_transform_edt(labels == 0) > 2
    for i, found in enumerate(background, 1):
        ring = free & (ndimage.distance_transform_edt(labels != i) <= 8)
        assert np.count_nonzero(ring) >= 20
        assert found == np.median(image[0, ring].astype(float))
    assert len(background) > 10


def test_background_comes_from_further_away_in_a_crowd_and_is_none_without_any():
    labels = np.zeros((100, 100), int)
    labels[30:70, 30:70] = 1
    labels[45:55, 45:55] = 2
    image = np.full((1, 100, 100), 7.0, np.float32)
    table = measure(masks_of(labels), channels_of(image))
    assert table["background_intensity"].tolist() == [7, 7]  # the second's: 17 pixels away and more
    full = measure(masks_of(np.ones((9, 9), int)), channels_of(image[:, :9, :9]))
    assert full["background_intensity"].isna().all() and full["net_mean_intensity"].isna().all()
    assert full["mean_intensity"].tolist() == [7]


def test_nuclei_that_are_left_out_are_no_background():
    labels = np.zeros((40, 60), int)
    labels[0:12, 5:55] = labels[28:40, 5:55] = 1  # cut by the border, all around the other
    labels[16:24, 6:54] = 2
    image = np.where(labels == 1, 200, np.where(labels == 2, 110, 10)).astype(np.uint8)
    masks = masks_of(labels)
    fields = {"scores": torch.ones(2), "pred_classes": torch.zeros(2, dtype=torch.int64)}
    instances = Instances(labels.shape, pred_masks=masks, **fields)
    prediction = Prediction(instances, ImageWindows(image))
    left = prediction.without_border()
    for row in (prediction.table().loc[1], left.table().loc[0], left[:1].table().loc[0]):
        assert (row["background_intensity"], row["net_mean_intensity"]) == (10, 100)


def test_blocks_do_not_change_the_measurements(monkeypatch):
    rng = np.random.default_rng(1)
    field = ndimage.gaussian_filter(rng.normal(size=(150, 170)), 3)
    masks = masks_of(ndimage.label(field > field.std())[0])
    image = rng.integers(0, 4000, (2, 150, 170)).astype(np.uint16)
    windows = []

    def read(box):
        windows.append(box)
        return image[:, *box]

    whole = measure(masks, Channels(("a", "b"), read))
    assert len(windows) == 1
    monkeypatch.setattr(measurements, "_BLOCK", 40)
    in_blocks = measure(masks, Channels(("a", "b"), read))
    assert len(windows) > 10
    assert max(side.stop - side.start for box in windows[1:] for side in box) < 150
    np.testing.assert_array_equal(whole, in_blocks)


def test_what_touches_the_border():
    labels = np.zeros((9, 12), int)
    for number, place in enumerate([(0, 5), (8, 5), (4, 0), (4, 11), (1, 1), (7, 10)], 1):
        labels[place] = number
    touching = measure(masks_of(labels))["touches_border"]
    assert touching.tolist() == [True, True, True, True, False, False]


def test_channels_are_chosen_by_name_or_number():
    image = np.stack([np.full((9, 9), value) for value in (1, 2, 3)])
    channels = channels_of(image, ["DAPI", "GFP", "0"])
    masks = masks_of(np.pad([[1]], 4))
    table = measure(masks, channels.chosen(["GFP", "0"]))
    assert [name for name in table if name.startswith("mean")] == [
        "mean_intensity_GFP",
        "mean_intensity_0",
    ]
    assert table.loc[0, ["mean_intensity_GFP", "mean_intensity_0"]].tolist() == [2, 3]
    for number in ("1", 1, np.int64(1)):
        table = measure(masks, channels.chosen([number]))
        assert table["mean_intensity_GFP"].tolist() == [2]
    with pytest.raises(InputError, match=r"no channel 'Cy5' to measure, only 0 DAPI, 1 GFP, 2 0"):
        channels.chosen(["Cy5"])


def test_channels_to_measure_have_the_names_of_the_channel_to_segment():
    # as in --channel dapi, --channel red
    named = channels_of(np.zeros((9, 9, 2)), ["DAPI", "Alexa 488"])
    assert named.chosen(["alexa 488", "dapi"]).names == ("Alexa 488", "DAPI")
    assert grey(np.zeros((9, 9, 3))).chosen(["blue", "R", "1"]).names == ("b", "r", "g")


@pytest.mark.parametrize("shape, intensities", [((9, 9), 7), ((9, 9, 3), 21)])
def test_nothing_to_measure_keeps_the_columns(shape, intensities):
    channels = grey(np.zeros(shape, np.uint8))
    none, one = (
        measure(masks_of(labels), channels, scores=np.zeros(labels.max()))
        for labels in (np.zeros((9, 9), int), np.pad([[1]], 4))
    )
    assert len(none) == 0 and list(none) == list(one)
    assert sum("intensity" in name for name in none) == intensities


def test_a_single_pixel_and_a_line():
    labels = np.zeros((9, 9), int)
    labels[1, 1], labels[5, 2:8] = 1, 2
    table = measure(masks_of(labels))
    assert table["solidity"].tolist() == [1, 1]
    assert table["area_px"].tolist() == [1, 6]
    assert np.isfinite(table.to_numpy(float)).all()
