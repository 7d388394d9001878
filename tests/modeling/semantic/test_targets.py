"""Classes and weights of pixels, for shapes whose answer is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.modeling.semantic.targets import BODY, BORDER, SemanticTargets, two_nearest
from nucdet.structures import CroppedMasks


def masks_of(image: str) -> CroppedMasks:
    """From rows of digits; '.' is background."""
    rows = [[0 if c == "." else int(c) for c in row] for row in image.split()]
    return CroppedMasks.from_label_map(np.array(rows))


def drawn(labels: np.ndarray) -> list[str]:
    return ["".join(".ob"[value] for value in row) for row in labels]


def targets(border: bool = True, **kwargs) -> SemanticTargets:
    return SemanticTargets(border=border, **kwargs)


def test_two_classes_are_background_and_nucleus():
    labels, weights = targets(False)(masks_of(".11. .122 ...."))
    assert labels.dtype == np.int64 and weights is None
    assert labels.tolist() == [[0, 1, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]]


def test_touching_nuclei_have_a_border_on_both_sides():
    masks = masks_of("\n".join(["..1111112222.."] * 9))
    labels, _ = targets(border_width=1, border_gap=0)(masks)
    assert drawn(labels) == ["..ooooobbooo.."] * 9


def test_the_gap_between_near_nuclei_is_border_and_a_wide_one_is_not():
    near, far = "1111..2222", "1111....2222"
    for row, expected in ((near, "oooobboooo"), (far, "oooo....oooo")):
        labels, _ = targets(border_width=1, border_gap=3)(masks_of("\n".join([row] * 7)))
        assert drawn(labels) == [expected] * 7


def test_a_lone_nucleus_has_no_border():
    labels, _ = targets()(masks_of("......\n" + "\n".join([".1111."] * 4)))
    assert not (labels == BORDER).any()


def test_the_border_of_small_nuclei_is_thin():
    small = masks_of("\n".join(["............", *[".1111122222."] * 5, "............"]))
    labels, _ = targets(border_width=3, border_gap=0, border_share=0.5)(small)
    # the deepest pixel is 3 deep: half of it is less than 2
    assert drawn(labels)[3] == ".oooobboooo."
    tiny = masks_of("..... .121. .....")
    labels, _ = targets(border_width=3, border_gap=0)(tiny)
    assert drawn(labels) == [".....", ".ooo.", "....."]


def test_distances_to_the_two_nearest():
    nearest, second = two_nearest(masks_of("1..2..3"), 3)
    assert nearest[0].tolist() == [0, 1, 1, 0, 1, 1, 0]
    assert second[0].tolist() == [3, 2, 2, 3, 2, 2, 3]
    alone, none = two_nearest(masks_of("1.."), 2)
    assert alone[0].tolist() == [0, 1, 2]
    assert np.isinf(none).all()


def test_where_masks_overlap_is_border():
    dense = np.zeros((2, 9, 9), bool)
    dense[0, :, :6] = dense[1, :, 4:] = True
    labels, _ = targets(border_width=1, border_gap=0)(CroppedMasks.from_dense(dense))
    assert drawn(labels) == ["ooobbbboo"] * 9


def test_weights_are_the_papers():
    masks = masks_of("1..2")
    _, weights = targets(False, weight_height=10, weight_sigma=5)(masks)
    assert weights.dtype == np.float32
    expected = 1 + 10 * math.exp(-(3**2) / 50)
    assert weights[0].tolist() == pytest.approx([expected] * 4)
    _, weights = targets(False, weight_height=10)(masks_of("1..."))
    assert weights.tolist() == [[1.0] * 4]


@pytest.mark.parametrize("border", [False, True])
def test_nothing_and_everything(border):
    nothing = CroppedMasks.from_label_map(np.zeros((5, 7), int))
    labels, weights = targets(border, weight_height=10)(nothing)
    assert not labels.any() and (weights == 1).all()
    everything = CroppedMasks.from_label_map(np.ones((5, 7), int))
    assert (targets(border)(everything)[0] == BODY).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_every_nucleus_keeps_body_and_distances_are_exact(seed, count):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :31]
    labels = np.zeros((24, 31), int)
    for i in range(count):
        cy, cx, ry, rx = random.uniform([0, 0, 0.3, 0.3], [24, 31, 7, 7])
        labels[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = i + 1
    masks = CroppedMasks.from_label_map(labels)
    classes, _ = targets()(masks)
    assert all((classes[mask] == BODY).any() for mask in masks)

    found = np.array(two_nearest(masks, 4))
    points = np.stack([y, x], axis=-1)[:, :, None]
    each = [np.linalg.norm(points - np.argwhere(m), axis=-1).min(axis=-1) for m in masks]
    expected = np.sort([*each, *[np.full((24, 31), np.inf)] * 2], axis=0)[:2]
    near = expected <= 4
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-6)
    assert (found[~near] > 4).all()
