"""Measuring corrected labels, tiles with progress, and stopping between them."""

from __future__ import annotations

import numpy as np
import pytest

from nucdet.errors import InputError
from nucdet.napari.planes import Plane
from nucdet.napari.progress import Cancelled
from nucdet.napari.segmentation import measure_labels, number_of, segment, segment_stack
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


def _stack(*shape: int) -> np.ndarray:
    """Planes with one nucleus, which is not in the last, and in the second another one."""
    planes = np.zeros((*shape, 64, 64), np.uint8)
    planes[..., :-1, 8:28, 8:28] = 200
    planes[..., 1, 36:56, 36:56] = 200
    return planes


def _planes(data: np.ndarray) -> list[Plane]:
    steps = np.ndindex(data.shape[:-2])
    return [Plane(data[step], "_".join(["s", *map(str, step)]), step) for step in steps]


def test_a_nucleus_has_one_number_in_all_planes_of_a_stack(watershed):
    reports = []
    data = _stack(3)
    stack = segment_stack(watershed, _planes(data), (3,), "z", None, lambda *r: reports.append(r))
    assert stack.labels.shape == data.shape and stack.labels.dtype == np.int32
    assert [np.unique(plane).tolist() for plane in stack.labels] == [[0, 1], [0, 1, 2], [0]]
    assert (stack.labels[0] == stack.labels[1])[8:28, 8:28].all()
    assert sorted(stack.scores) == [1, 2] and stack.warnings == []
    assert [report[:2] for report in reports] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("axis", "numbers"),
    [
        ("z", [[[1], [1, 2], []], [[3], [3, 4], []]]),
        ("time", [[[1], [2, 3], []], [[1], [2, 3], []]]),
    ],
)
def test_two_axes_are_time_and_depth(watershed, axis, numbers):
    data = _stack(1, 2, 3)  # the axis of length 1 does not count
    stack = segment_stack(watershed, _planes(data), (1, 2, 3), axis, None, lambda *report: None)
    assert stack.labels.shape == data.shape
    found = [[np.unique(plane)[1:].tolist() for plane in planes] for planes in stack.labels[0]]
    assert found == numbers


def test_an_image_without_sliders_is_a_single_plane_and_one_with_three_is_refused(watershed):
    def run(data):
        return segment_stack(watershed, _planes(data), data.shape[:-2], "z", None, lambda *r: None)

    assert run(_stack(3)[1]).labels.shape == (64, 64)
    with pytest.raises(InputError, match="the image has 3 sliders; expected at most two"):
        run(_stack(2, 2, 2))
