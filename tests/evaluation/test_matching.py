import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucdet.evaluation.matching import Intersections, match
from nucdet.structures import CroppedMasks


def score_of(true, pred):
    return match(Intersections.of_label_maps(np.array(true), np.array(pred)))


def reference(true, pred):
    """TP at each threshold and the score as a Fraction, by trying all matchings of dense masks."""
    ious = [[Fraction(int((t & p).sum()), int((t | p).sum())) for p in pred] for t in true]

    def most_pairs(limit, left, used):
        if left == len(true):
            return 0
        options = [most_pairs(limit, left + 1, used)]
        for j in range(len(pred)):
            if j not in used and ious[left][j] > limit:
                options.append(1 + most_pairs(limit, left + 1, used | {j}))
        return max(options)

    tp = [most_pairs(Fraction(k, 20), 0, frozenset()) for k in range(10, 20)]
    if not len(true) and not len(pred):
        return tp, Fraction(1)
    return tp, sum(Fraction(n, len(true) + len(pred) - n) for n in tp) / 10


def dense(labels):
    return np.stack([labels == v for v in np.unique(labels) if v]) if labels.any() else []


# --- worked out by hand


@pytest.mark.parametrize("k", range(1, 21))
@pytest.mark.parametrize("scale", [1, 7, 1000])
def test_iou_of_exactly_k_twentieths_matches_only_below_k(k, scale):
    true = np.ones((1, 20 * scale), int)
    pred = np.zeros_like(true)
    pred[0, : k * scale] = 1
    result = score_of(true, pred)
    assert result.tp.tolist() == [int(k > t) for t in range(10, 20)]
    assert result.score == pytest.approx(max(k - 10, 0) / 10)


@pytest.mark.parametrize("k", range(10, 20))
def test_one_pixel_more_than_k_twentieths_matches(k):
    true = np.ones((1, 20_000), int)
    pred = np.zeros_like(true)
    pred[0, : k * 1000 + 1] = 1
    assert score_of(true, pred).tp.sum() == k - 9


def test_exact_prediction_scores_1():
    labels = [[1, 1, 0, 2], [0, 3, 3, 2]]
    assert score_of(labels, labels).score == 1


def test_one_object_split_in_two_halves_scores_0():
    # both halves have an IoU of exactly 1/2, which is not greater than 1/2
    result = score_of([[1, 1, 1, 1]], [[1, 1, 2, 2]])
    assert (result.n_true, result.n_pred, result.tp.sum(), result.score) == (1, 2, 0, 0)


def test_unequal_parts_one_true_one_false_positive():
    # 3/4 of the object: matched at 0.50 … 0.70, and the other part is a false positive: 5 × 1/2
    result = score_of([[1, 1, 1, 1]], [[1, 1, 1, 2]])
    assert result.tp.tolist() == [1] * 5 + [0] * 5
    assert result.score == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("true", "pred", "expected"),
    [
        ([[0, 0]], [[0, 0]], 1),  # nothing there, nothing found
        ([[0, 0]], [[0, 1]], 0),  # no ground truth
        ([[0, 1]], [[0, 0]], 0),  # no prediction
        ([[1, 0]], [[0, 1]], 0),  # side by side
        (np.zeros((0, 2), int), np.zeros((0, 2), int), 1),  # no pixel
    ],
)
def test_empty_sides(true, pred, expected):
    result = score_of(true, pred)
    assert result.score == expected
    assert result.precision.tolist() == [expected] * 10
    size = np.shape(true)
    masks = [CroppedMasks.from_label_map(np.array(labels)) for labels in (true, pred)]
    assert masks[0].image_size == size
    assert match(Intersections.of_masks(*masks)).score == expected


def test_precision_is_tp_over_tp_fp_fn():
    # two nuclei, one found exactly, one missed, one false: 1 / (1 + 1 + 1)
    result = score_of([[1, 0, 2, 0]], [[1, 0, 0, 3]])
    assert result.precision == pytest.approx(np.full(10, 1 / 3))
    assert result.partner[0].tolist() == [0, -1]


def test_overlapping_predictions_are_matched_one_to_one(spans):
    # the same nucleus twice: one of the two is a false positive
    result = match(Intersections.of_masks(spans((0, 0, 9)), spans((0, 0, 9), (0, 0, 9))))
    assert result.tp.tolist() == [1] * 10
    assert result.score == 0.5


def test_matching_is_maximum_not_greedy(spans):
    # IoU: first nucleus with both masks 9/10 and 10/11, second nucleus only with the mask that
    # suits the first best; taking the best pair first would leave the second nucleus alone
    true = spans((0, 0, 10), (0, 2, 12))
    pred = spans((0, 0, 9), (0, 0, 11))
    found = Intersections.of_masks(true, pred)
    assert dict(zip(zip(found.true, found.pred, strict=True), found.pixels, strict=True)) == {
        (0, 0): 9, (0, 1): 10, (1, 0): 7, (1, 1): 9,
    }  # fmt: skip
    assert found.unions.tolist() == [10, 11, 12, 12]
    result = match(found)
    # second nucleus: 7/12 with the first mask, 9/12 with the second
    assert result.tp.tolist() == [2, 2, 2, 2, 2, 1, 1, 1, 1, 0]
    assert result.partner[4].tolist() == [0, 1]


# --- against a slow obvious reference


def random_pair(seed):
    """A label map of up to 4 nuclei, and one that differs in some pixels."""
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.integers(0, 5, (2, 3)), 4, axis=1)
    pred = np.where(rng.random(true.shape) < 0.2, rng.integers(0, 5, true.shape), true)
    return true, pred * rng.integers(0, 9)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_reference_on_random_label_maps(seed):
    pair = random_pair(seed)
    tp, score = reference(*(dense(labels) for labels in pair))
    result = match(Intersections.of_label_maps(*pair))
    assert result.tp.tolist() == tp
    assert result.score == pytest.approx(float(score), abs=1e-12)
    again = match(Intersections.of_masks(*(CroppedMasks.from_label_map(m) for m in pair)))
    assert np.array_equal(again.partner, result.partner)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_agrees_with_reference_on_overlapping_masks(seed):
    rng = np.random.default_rng(seed)
    base = rng.random((3, 5)) < 0.7
    # variations of one shape, so that most pairs have a high IoU
    true, pred = (base ^ (rng.random((rng.integers(0, 4), 3, 5)) < 0.1) for _ in range(2))
    true, pred = (masks[masks.any(axis=(1, 2))] for masks in (true, pred))
    tp, score = reference(true, pred)
    found = Intersections.of_masks(*(CroppedMasks.from_dense(m) for m in (true, pred)))
    result = match(found)
    assert result.tp.tolist() == tp
    assert result.score == pytest.approx(float(score), abs=1e-12)
    expected = [(i, j) for i, t in enumerate(true) for j, p in enumerate(pred) if (t & p).any()]
    assert list(zip(found.true.tolist(), found.pred.tolist(), strict=True)) == expected
    assert found.pixels.tolist() == [int((true[i] & pred[j]).sum()) for i, j in expected]


# --- label maps of all sorts


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64])
def test_label_maps_of_any_integer_type(dtype):
    top = int(min(np.iinfo(dtype).max, 2**62))
    true = np.array([[top, top, 0, 3]], dtype)
    found = Intersections.of_label_maps(true, np.array([[1, 0, 0, 1]], np.uint8))
    assert found.true_areas.tolist() == [1, 2]  # in ascending order of the label
    assert found.pred_areas.tolist() == [2]
    assert found.pixels.tolist() == [1, 1]
    assert found.unions.tolist() == [2, 3]


def test_neighboring_labels_of_64_bits_are_two():
    # float64 holds 53 bits
    labels = np.array([[2**60, 2**60 + 1, 0]], np.uint64)
    assert Intersections.of_label_maps(labels, labels).true_areas.tolist() == [1, 1]


def test_masks_without_pixels_keep_their_index(spans):
    true = spans((0, 0, 0), (0, 0, 5), (1, 0, 0), (2, 3, 6))
    result = match(Intersections.of_masks(true, true))
    assert result.partner[0].tolist() == [-1, 1, -1, 3]


def test_label_maps_of_columns_are_not_confused_by_row_ends():
    labels = np.array([[0, 1], [1, 0], [0, 2]])
    found = Intersections.of_label_maps(labels, labels)
    assert found.true_areas.tolist() == [2, 1]
    assert found.pixels.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "differ in shape"),
        (np.zeros((2, 2), float), np.zeros((2, 2), int), "holds integers, not float64"),
        (np.array([[-1, 0]]), np.array([[1, 0]]), "label -1 is negative"),
    ],
)
def test_bad_label_maps(true, pred, message):
    with pytest.raises(ValueError, match=message):
        Intersections.of_label_maps(true, pred)


def test_masks_of_images_of_different_sizes(spans):
    with pytest.raises(ValueError, match="4, 40"):
        Intersections.of_masks(spans((0, 0, 1)), spans((0, 0, 1), size=(4, 41)))


def test_docstring_examples():
    import doctest

    from nucdet.evaluation import matching

    assert doctest.testmod(matching).failed == 0


def test_reference_itself():
    # the reference is only worth something if it tries all matchings
    true = np.ones((2, 1, 4), bool)
    pred = np.ones((2, 1, 4), bool)
    assert reference(true, pred) == ([2] * 10, Fraction(1))
    for a, b in itertools.product([[], true], [[], pred]):
        tp, score = reference(a, b)
        assert score == (1 if len(a) == len(b) else 0)
        assert tp[0] == min(len(a), len(b))
