"""Measuring corrected labels, tiles with progress, and stopping between them."""

from __future__ import annotations

import numpy as np
import pytest

from nucdet.errors import InputError
from nucdet.napari.planes import Plane
from nucdet.napari.progress import Cancelled
from nucdet.napari.segmentation import measure_labels, number_of, segment
from nucdet.predict import Segmenter


def test_measurements_keep_the_numbers_of_the_labels():
    labels = np.zeros((10, 10), np.int32)
    labels[1:3, 1:5] = 4
    labels[6:9, 6:9] = 9
    image = np.where(labels == 9, 50, 10)
    table = measure_labels(labels, image, scores={4: 0.75, 5: 0.5}, pixel_size=None)
    assert table["id"].tolist() == [4, 9]
    assert table.filter(regex="^area").iloc[:, 0].tolist() == [8, 9]
    assert table["score"].iloc[0] == 0.75
    assert np.isnan(table["score"].iloc[1])


def test_no_labels_give_an_empty_table():
    table = measure_labels(np.zeros((4, 4), int), np.ones((4, 4)), scores={1: 0.5})
    assert len(table) == 0
    assert "id" in table


def test_labels_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"4x4 pixels .* image 4x5"):
        measure_labels(np.zeros((4, 4), int), np.ones((4, 5)))


@pytest.mark.parametrize(("text", "expected"), [("", None), (" Auto ", "auto"), ("12.5", 12.5)])
def test_numbers_as_written(text, expected):
    assert number_of("diameter", text, "auto") == expected


def test_a_number_that_is_none():
    with pytest.raises(InputError, match="diameter is 'twelve'; expected a number or 'auto'"):
        number_of("diameter", "twelve", "auto")
    with pytest.raises(InputError, match="threshold is 'auto'; expected a number or an empty"):
        number_of("threshold", "auto")


@pytest.fixture
def watershed(repository):
    """A system without a network, which is quick on large images."""
    return Segmenter(repository / "configs/DSB2018/classical_watershed.yaml")


def test_tiles_are_reported_and_a_stop_takes_effect_between_two(watershed):
    image = np.zeros((64, 3400), np.uint8)
    for left in range(40, 3400, 200):
        image[20:40, left : left + 20] = 200
    reports = []

    def progress(done, total, text):
        reports.append((done, total))
        if stop_at == done:
            raise Cancelled

    stop_at = None
    prediction = segment(watershed, Plane(image, "strip"), None, progress)
    assert len(prediction) == 17
    tiles = reports[-1][1]
    assert tiles > 1
    assert reports == [(0, 0), *((done, tiles) for done in range(1, tiles + 1))]

    reports.clear()
    stop_at = 1
    with pytest.raises(Cancelled):
        segment(watershed, Plane(image, "strip"), None, progress)
    assert reports == [(0, 0), (1, tiles)]
