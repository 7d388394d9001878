"""Measurements against shapes whose answers are known, and against skimage on a label map."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops_table

from nucdet.data.io.windows import ImageWindows
from nucdet.predict.measure import measure
from nucdet.structures import CroppedMasks


def test_a_rectangle():
    labels = np.zeros((20, 30), int)
    labels[4:8, 10:20] = 1
    image = np.zeros((20, 30), np.uint16)
    image[4:8, 10:15] = 1000
    row = measure(CroppedMasks.from_label_map(labels), np.array([0.7]), ImageWindows(image)).loc[0]
    assert (row.centroid_y, row.centroid_x) == (5.5, 14.5)
    assert (row.bbox_y0, row.bbox_x0, row.bbox_y1, row.bbox_x1) == (4, 10, 8, 20)
    assert (row.area, row.solidity, row.mean_intensity, row.score) == (40, 1, 500, 0.7)


def test_micrometres():
    labels = np.zeros((20, 30), int)
    labels[4:8, 10:20] = 1
    pixels = measure(CroppedMasks.from_label_map(labels)).loc[0]
    microns = measure(CroppedMasks.from_label_map(labels), pixel_size=0.5).loc[0]
    assert microns.area == pixels.area / 4
    assert microns.perimeter == pixels.perimeter / 2
    assert microns.centroid_x == pixels.centroid_x / 2
    assert microns.bbox_x0 == pixels.bbox_x0


def test_is_skimage_on_the_label_map():
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(120, 140)), 4)
    labels = ndimage.label(field > field.std())[0]
    image = rng.integers(0, 256, (120, 140, 3), dtype=np.uint8)
    ours = measure(CroppedMasks.from_label_map(labels), source=ImageWindows(image))
    names = ("area", "centroid", "eccentricity", "intensity_mean")
    theirs = regionprops_table(labels, image, properties=names)
    np.testing.assert_allclose(ours["area"], theirs["area"])
    np.testing.assert_allclose(ours["centroid_x"], theirs["centroid-1"])
    np.testing.assert_allclose(ours["eccentricity"], theirs["eccentricity"], atol=1e-6)
    np.testing.assert_allclose(ours["mean_intensity_b"], theirs["intensity_mean-2"])
    assert len(ours) > 5


@pytest.mark.parametrize("shape, names", [((9, 9), 13), ((9, 9, 3), 15)])
def test_nothing_to_measure_keeps_the_columns(shape, names):
    none = CroppedMasks.from_label_map(np.zeros((9, 9), int))
    table = measure(none, np.zeros(0), ImageWindows(np.zeros(shape, np.uint8)))
    assert table.shape == (0, names)


def test_a_single_pixel_and_a_line():
    labels = np.zeros((9, 9), int)
    labels[1, 1], labels[5, 2:8] = 1, 2
    table = measure(CroppedMasks.from_label_map(labels))
    assert table["solidity"].tolist() == [1, 1]
    assert table["area"].tolist() == [1, 6]
