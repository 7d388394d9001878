"""Outlines moved by pixels: scikit-image's rule outwards, distances by hand inwards."""

from __future__ import annotations

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import expand_labels

from nucdet.postprocessing import blocks
from nucdet.postprocessing.outline_offset import offset_outlines
from nucdet.structures import CroppedMasks

OFFSETS = [0.5, 1.0, 1.5, 2.0, 2.5, 4.0]


@st.composite
def label_maps(draw):
    """(H, W) of specks and blobs that touch and do not."""
    shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = np.zeros(shape, np.int32)
    for number in range(1, draw(st.integers(0, 12)) + 1):
        y, x = rng.integers(shape[0]), rng.integers(shape[1])
        height, width = rng.integers(1, 7, 2)
        labels[y : y + height, x : x + width] = number
    return labels


@settings(deadline=None, max_examples=300)
@given(label_maps(), st.sampled_from(OFFSETS), st.sampled_from([3, 7, 2048]))
def test_outwards_is_expand_labels(labels, offset, block):
    masks = CroppedMasks.from_label_map(labels)
    with patch.object(blocks, "BLOCK", block):
        grown = offset_outlines(masks, offset)
    expected = expand_labels(masks.to_label_map(), offset)
    np.testing.assert_array_equal(grown.to_label_map(), expected)
    # crops are tight, and nothing overlaps
    assert grown.areas.sum() == np.count_nonzero(expected)
    np.testing.assert_array_equal(grown.boxes, CroppedMasks.from_dense(grown.to_dense()).boxes)


@settings(deadline=None, max_examples=200)
@given(label_maps(), st.sampled_from(OFFSETS))
def test_inwards_by_the_distance_to_the_outside(labels, offset):
    masks = CroppedMasks.from_label_map(labels)
    y, x = np.indices(labels.shape).reshape(2, -1)
    for before, after in zip(masks, offset_outlines(masks, -offset), strict=True):
        outside = ~before.ravel()
        if outside.all() or not outside.any():
            np.testing.assert_array_equal(before, after)
            continue
        squares = (y[:, None] - y[outside]) ** 2 + (x[:, None] - x[outside]) ** 2
        depth = np.sqrt(squares.min(axis=1)).reshape(labels.shape)
        expected = depth > offset
        if not expected.any():
            expected = depth == depth.max()
        np.testing.assert_array_equal(after, expected)


def test_a_square_by_one_pixel_each_way():
    dense = np.zeros((1, 9, 9), bool)
    dense[0, 3:6, 3:6] = True
    square = CroppedMasks.from_dense(dense)
    # the four corners of the larger square are √2 away
    assert offset_outlines(square, 1).areas.tolist() == [9 + 4 * 3]
    assert offset_outlines(square, 1.5).areas.tolist() == [25]
    assert offset_outlines(square, -1).areas.tolist() == [1]
    assert offset_outlines(square, -5).areas.tolist() == [1]  # it never vanishes
    assert offset_outlines(square, 0) is square


def test_the_edge_of_the_image_is_no_outline():
    dense = np.zeros((1, 6, 6), bool)
    dense[0, :4, :4] = True
    left = offset_outlines(CroppedMasks.from_dense(dense), -1)
    assert left.boxes.tolist() == [[0, 0, 3, 3]]
    everything = CroppedMasks.from_dense(np.ones((1, 4, 4), bool))
    assert offset_outlines(everything, -2).areas.tolist() == [16]


@pytest.mark.parametrize("offset", [-1, 2])
def test_no_masks(offset):
    nothing = CroppedMasks.from_label_map(np.zeros((4, 5), int))
    assert len(offset_outlines(nothing, offset)) == 0


@pytest.mark.parametrize("offset", [-1, 1])
def test_memory_is_that_of_a_block(offset, monkeypatch):
    """900 nuclei in an image of 12,000 × 12,000: one int32 label map of it takes 576 MB."""
    places = np.stack(np.meshgrid(range(0, 12_000, 400), range(0, 12_000, 400)), -1).reshape(-1, 2)
    masks = CroppedMasks(places, [np.ones((20, 20), bool)] * len(places), (12_000, 12_000))
    monkeypatch.setattr(blocks, "BLOCK", 800)
    tracemalloc.start()
    moved = offset_outlines(masks, offset)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # at the image's upper and left edge masks have no outline
    inner = (places > 0).all(axis=1)
    assert (moved.areas[inner] == (480 if offset > 0 else 324)).all()
    assert peak < 100e6
