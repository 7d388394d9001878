"""Drawings of instances and comparisons: colors, outlines, fills and panels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucdet.structures import CroppedMasks
from nucdet.visualization.colors import FALSE, MATCHED, MISSED, color_by_neighbors
from nucdet.visualization.comparison import draw_comparison
from nucdet.visualization.drawing import NucleusVisualizer, draw_instances

GREY = 60


def masks_of(*boxes: tuple[int, int, int, int], size=(40, 40)) -> CroppedMasks:
    """Filled rectangles (y0, x0, y1, x1), each a mask."""
    dense = np.zeros((len(boxes), *size), bool)
    for mask, (y0, x0, y1, x1) in zip(dense, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return CroppedMasks.from_dense(dense)


def grey_image(size=(40, 40)) -> np.ndarray:
    return np.full((*size, 3), GREY, np.uint8)


# ------------------------------------------------------------------------------- colors


@given(arrays(np.int32, (6, 6), elements=st.integers(0, 7)))
@settings(deadline=None, max_examples=50)
def test_touching_masks_have_different_colors(labels):
    labels = labels.repeat(4, axis=0).repeat(4, axis=1)
    masks = CroppedMasks.from_label_map(labels)
    # at most seven masks, so that eight colors always suffice
    colors = color_by_neighbors(masks, grey_image((24, 24)))
    assert len(np.unique(colors, axis=0)) <= 8
    label_map = masks.to_label_map()
    for a, b in ((label_map[:, 1:], label_map[:, :-1]), (label_map[1:], label_map[:-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        assert (colors[a[meet] - 1] != colors[b[meet] - 1]).any(axis=1).all()


def test_mask_hidden_under_another_differs_from_it():
    masks = masks_of((0, 0, 20, 20), (5, 5, 10, 10))
    first, second = color_by_neighbors(masks, grey_image())
    assert (first != second).any()


def test_colors_like_the_image_are_avoided():
    spots = masks_of(*((y, x, y + 2, x + 2) for y in range(0, 40, 10) for x in range(0, 40, 10)))
    stain = np.full((40, 40, 3), (180, 100, 250), np.uint8)
    colors = color_by_neighbors(spots, stain).astype(int)
    assert np.linalg.norm(colors - (180, 100, 250), axis=1).min() > 100
    # isolated masks use all the others alike
    assert len(np.unique(colors, axis=0)) >= 4


def test_colors_like_the_nuclei_are_avoided():
    spots = masks_of(*((y, x, y + 2, x + 2) for y in range(0, 40, 10) for x in range(0, 40, 10)))
    image = np.full((40, 40, 3), 255, np.uint8)
    image[spots.to_dense().any(axis=0)] = (255, 140, 30)
    colors = color_by_neighbors(spots, image).astype(int)
    assert np.linalg.norm(colors - (255, 140, 30), axis=1).min() > 100


# ------------------------------------------------------------------------- draw_instances


def test_fill_and_outline_stay_inside_the_mask(like):
    image = draw_instances(
        grey_image(), masks_of((10, 10, 30, 30)), (255, 0, 0), alpha=0.5, line_width=1, zoom=4
    )
    assert image.shape == (160, 160, 3) and image.dtype == np.uint8
    outside = np.ones((160, 160), bool)
    outside[38:122, 38:122] = False  # half a dark line's width around 4·[10, 30)
    assert (image[outside] == GREY).all()
    # the middle is half image and half red, the edge is all red
    assert np.abs(image[80, 80].astype(int) - ((GREY + 255) // 2, 30, 30)).max() <= 2
    assert like(image[40:42, 80], (255, 0, 0)).any()


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (150, 80, 200)])
@pytest.mark.parametrize("color", [(175, 95, 255), (255, 215, 0)])
def test_every_outline_has_a_tone_unlike_the_image(ground, color, like):
    image = np.full((40, 40, 3), ground, np.uint8)
    drawn = draw_instances(image, masks_of((10, 10, 30, 30)), color, zoom=4)
    # across the left edge, at x = 40 in the result
    line = drawn[80, 34:46].astype(int)
    assert np.linalg.norm(line - ground, axis=1).max() > 100
    middle = np.linalg.norm(line - color, axis=1).argmin()
    assert like(line[middle], color)
    if ground != (0, 0, 0):
        # a dark line on either side of the bright one
        darker = line.sum(axis=1) < 0.75 * min(sum(ground), sum(color))
        assert darker[:middle].any() and darker[middle:].any()


def test_zoom_makes_small_images_readable_and_leaves_large_ones():
    assert draw_instances(grey_image((64, 128)), masks_of(size=(64, 128))).shape == (512, 1024, 3)
    large = grey_image((20, 1300))
    assert (draw_instances(large, masks_of(size=(20, 1300))) == large).all()


@pytest.mark.parametrize(("size", "zoom"), [((1, 1), 8), ((37, 90), 3), ((1036, 700), 1)])
def test_the_image_is_enlarged_as_matplotlib_enlarges_it(size, zoom):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    visualizer = NucleusVisualizer(image, scale=zoom)
    masks = masks_of((0, 0, size[0], size[1] // 2 + 1), size=size)
    visualizer.overlay_masks(masks, np.array([[255, 0, 0]]), alpha=0.2, line_width=1.5)
    expected = visualizer.output.get_image()
    assert np.array_equal(visualizer.get_image(), expected)


def test_without_fill_and_outline_the_image_stays():
    image = draw_instances(grey_image(), masks_of((10, 10, 30, 30)), alpha=0, line_width=0, zoom=1)
    assert (image == GREY).all()


def test_holes_stay_open():
    ring = masks_of((5, 5, 35, 35)).to_dense()
    ring[0, 12:28, 12:28] = False
    image = draw_instances(grey_image(), ring, (255, 0, 0), alpha=0.5, zoom=4)
    assert (image[80, 80] == GREY).all()
    assert (image[80, 34] != GREY).any()


def test_each_mask_in_its_color_and_small_ones_above():
    masks = masks_of((12, 12, 18, 18), (5, 5, 35, 35), (0, 39, 1, 40))
    colors = np.array([(0, 255, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    image = draw_instances(grey_image(), masks, colors, alpha=1, zoom=1)
    assert (image[15, 15] == (0, 255, 0)).all()
    assert (image[30, 30] == (255, 0, 0)).all()
    assert image[0, 39, 2] > 150  # a single pixel can be seen


def test_no_dense_masks_are_made(monkeypatch):
    masks = masks_of((10, 10, 30, 30), (12, 28, 20, 35))

    def fail(self):
        raise AssertionError("N×H×W masks")

    monkeypatch.setattr(CroppedMasks, "to_dense", fail)
    monkeypatch.setattr(CroppedMasks, "__iter__", fail)
    draw_comparison(grey_image(), masks, masks)
    draw_instances(grey_image(), masks)


@pytest.mark.parametrize("image", [grey_image((40, 41)), grey_image() / 2, grey_image()[..., 0]])
def test_image_that_does_not_fit_is_refused(image):
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
        draw_instances(image, masks_of((1, 1, 5, 5)))


# ------------------------------------------------------------------------ draw_comparison


def test_matched_false_and_missed_by_color_and_panel(like):
    nucleus, half, other = (2, 2, 12, 12), (20, 2, 30, 12), (25, 25, 35, 35)
    # the second prediction has an IoU of exactly 1/2, which is no match
    predicted = masks_of(nucleus, (20, 2, 25, 12))
    truth = masks_of(nucleus, half, other)
    sheet = draw_comparison(grey_image(), predicted, truth, "name")
    panel = 8 * 40
    left, right = sheet[-panel:, :panel], sheet[-panel:, -panel - 100 :]
    assert like(left[:104, :104], MATCHED).any() and like(right[:104], MATCHED).any()
    assert like(left[152:, :104], FALSE).any() and not like(right, FALSE).any()
    assert like(right[152:], MISSED).any() and not like(left, MISSED).any()
    # the legend holds all three
    header = sheet[: len(sheet) - panel]
    assert all(like(header, color).any() for color in (MATCHED, FALSE, MISSED))


def test_dark_images_are_brightened_others_not():
    empty = masks_of()
    dark, bright = grey_image() // 6, grey_image() * 3
    assert draw_comparison(dark, empty, empty)[-1, 0, 0] == 255
    assert draw_comparison(bright, empty, empty)[-1, 0, 0] == 3 * GREY
