import numpy as np
import pytest

from nucdet.data.io.windows import ImageWindows
from nucdet.predict import drawing as predict_drawing
from nucdet.predict.drawing import (
    draw_overlay,
    outline_colors,
    read_for_drawing,
    reduce_masks,
    reduction,
)
from nucdet.structures import CroppedMasks


@pytest.mark.parametrize(
    ("size", "factor"), [((480, 1), 1), ((481, 480), 2), ((1, 5000), 11), ((8, 8), 1)]
)
def test_reduction_is_the_least_that_fits(size, factor):
    assert reduction(size, 480) == factor


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_reduced_masks_are_every_nth_pixel(factor):
    rng = np.random.default_rng(factor)
    dense = np.zeros((30, 23, 31), bool)
    for mask in dense:
        y, x = rng.integers(0, (20, 28))
        mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
    reduced = reduce_masks(CroppedMasks.from_dense(dense), factor)
    assert np.array_equal(reduced.to_dense(), dense[:, ::factor, ::factor])


def test_a_large_image_is_averaged_in_bands(monkeypatch):
    monkeypatch.setattr(predict_drawing, "OVERLAY_SIDE", 10)
    monkeypatch.setattr(predict_drawing, "_BAND", 2)
    image = np.arange(25 * 30, dtype=np.uint8).reshape(25, 30)
    pixels = read_for_drawing(ImageWindows(image))
    assert pixels.shape == (9, 10, 3)
    blocks = image[:24].reshape(8, 3, 10, 3).mean(axis=(1, 3))
    assert np.abs(pixels[:8, :, 0] - blocks).max() <= 0.5


def test_outline_colors_are_digits_that_differ_between_neighbors(monkeypatch):
    monkeypatch.setattr(predict_drawing, "OVERLAY_SIDE", 50)
    masks = CroppedMasks.from_label_map(np.kron([[1, 2, 0, 3]], np.ones((20, 20), int)))
    colors = outline_colors(read_for_drawing(ImageWindows(np.zeros((20, 80), np.uint8))), masks)
    assert len(colors) == 3 and set(colors) <= set("01234567")
    assert colors[0] != colors[1]


def test_overlay_of_a_large_image_is_reduced(monkeypatch):
    monkeypatch.setattr(predict_drawing, "OVERLAY_SIDE", 50)
    monkeypatch.setattr("nucdet.visualization.drawing.READABLE_SIDE", 1)
    labels = np.zeros((101, 80), np.uint8)
    labels[10:60, 20:50] = 1
    image = read_for_drawing(ImageWindows(np.zeros((101, 80), np.uint8)))
    masks = CroppedMasks.from_label_map(labels)
    overlay = draw_overlay(image, masks, outline_colors(image, masks))
    assert overlay.shape == (34, 27, 3)
    assert overlay[4:20, 7:16].any(axis=2).all()
    assert not overlay[:2].any() and not overlay[23:].any()
