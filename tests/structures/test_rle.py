"""Run-length codes: against pycocotools, against codes written by hand, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

fast = settings(deadline=None, max_examples=80)
dense_masks = arrays(
    bool,
    st.tuples(st.integers(0, 4), st.integers(1, 12), st.integers(1, 12)),
    elements=st.booleans(),
)


def slow_coco(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def slow_pairs(pixels: np.ndarray) -> str:
    """ "start length …" of flat pixels, run by run."""
    words, start = [], None
    for i, value in enumerate([*pixels.tolist(), False]):
        if value and start is None:
            start = i
        if not value and start is not None:
            words += [str(start + 1), str(i - start)]
            start = None
    return " ".join(words)


def slow_counts(mask: np.ndarray) -> list[int]:
    counts, current = [0], False
    for value in mask.T.ravel().tolist():
        if value != current:
            counts.append(0)
            current = value
        counts[-1] += 1
    return counts


@fast
@given(dense_masks)
def test_codes_equal_those_of_slow_code(dense):
    masks = CroppedMasks.from_dense(dense)
    assert masks.to_coco_rle() == [slow_coco(mask) for mask in dense]
    assert masks.to_kaggle_rle() == [slow_pairs(mask.T.ravel()) for mask in dense]
    assert masks.to_sartorius_rle() == [slow_pairs(mask.ravel()) for mask in dense]


@fast
@given(dense_masks)
def test_coco_codes_of_others_are_read(dense):
    size = dense.shape[1:]
    compressed = [slow_coco(mask) for mask in dense]
    raw = [{"size": r["size"], "counts": r["counts"].encode()} for r in compressed]
    plain = [
        {"size": np.array(size), "counts": slow_counts(mask)} if i % 2 else compressed[i]
        for i, mask in enumerate(dense)
    ]
    for rles in (compressed, raw, plain):
        np.testing.assert_array_equal(CroppedMasks.from_coco_rle(rles, size).to_dense(), dense)


def test_long_runs_take_several_characters():
    """Counts of 1 to 5 groups, differences of both signs."""
    mask = np.zeros((3000, 2000), dtype=bool)
    mask[7:2990, 40:1200] = True
    mask[5:20, 1300:1310] = True
    masks = CroppedMasks.from_dense(mask[None])
    assert masks.to_coco_rle() == [slow_coco(mask)]
    back = CroppedMasks.from_coco_rle(masks.to_coco_rle(), mask.shape)
    np.testing.assert_array_equal(back.to_dense()[0], mask)


def test_codes_known_by_hand():
    mask = np.array([[[0, 1, 1], [0, 1, 0]]], dtype=bool)
    masks = CroppedMasks.from_dense(mask)
    assert masks.to_kaggle_rle() == ["3 3"]
    assert masks.to_sartorius_rle() == ["2 2 5 1"]
    assert masks.to_coco_rle() == [{"size": [2, 3], "counts": "231"}]
    assert CroppedMasks.from_dense(np.zeros((1, 2, 3), bool)).to_kaggle_rle() == [""]


def test_a_code_may_part_a_run_and_hold_empty_ones():
    masks = CroppedMasks.from_kaggle_rle(["1 2 3 2", ""], (3, 2))
    assert masks.to_kaggle_rle() == ["1 4", ""]
    masks = CroppedMasks.from_coco_rle([{"size": [3, 2], "counts": [0, 2, 0, 2, 2]}], (3, 2))
    assert masks.to_kaggle_rle() == ["1 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 5", "found 3 numbers; expected pairs"),
        ("1 two", "found '1 two'; expected whole numbers"),
        ("1.0 2", "expected whole numbers"),
        (float("nan"), "found nan; expected text"),
        ("0 2", "run '0 2': starts count from 1"),
        ("3 0", "run '3 0': lengths are at least 1"),
        ("5 3", "run '5 3': it goes beyond the image, which has 6 pixels (3 high, 2 wide)"),
        ("7 1", "beyond the image"),
        ("2 9223372036854775807", "beyond the image"),
        ("2 99999999999999999999", "expected whole numbers"),
        ("4 1 1 2", "run '1 2': runs must be in ascending order"),
        ("1 3 3 1", "run '3 1': runs must be in ascending order and may not overlap"),
    ],
)
@pytest.mark.parametrize("form", ["kaggle", "sartorius"])
def test_bad_pairs_are_refused(form, text, message):
    decode = getattr(CroppedMasks, f"from_{form}_rle")
    with pytest.raises(InputError) as error:
        decode(["1 2", text], (3, 2))
    assert str(error.value).startswith("mask 1: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [3, 2]}, "no COCO RLE"),
        ([1, 2], "no COCO RLE"),
        ({"size": [2, 3], "counts": "06"}, "size [2, 3] (height, width), but the image has [3, 2]"),
        ({"size": None, "counts": "06"}, "size None"),
        ({"size": [3, 2], "counts": [1.5, 4.5]}, "'counts' of an RLE is list"),
        ({"size": [3, 2], "counts": None}, "'counts' of an RLE is NoneType"),
        ({"size": [3, 2], "counts": [7, -1]}, "a run of 7 pixels"),
        (
            {"size": [3, 2], "counts": [2, 2]},
            "covers 4 pixels, but the image has 6 (3 high, 2 wide)",
        ),
        ({"size": [3, 2], "counts": ""}, "covers 0 pixels"),
        ({"size": [3, 2], "counts": "06 "}, "character ' ' in its RLE"),
        ({"size": [3, 2], "counts": "0P"}, "breaks off within a number"),
        ({"size": [3, 2], "counts": "P" * 9 + "0"}, "a number of 10 characters"),
        ({"size": [3, 2], "counts": "N8"}, "a run of -2 pixels"),
    ],
)
def test_bad_coco_codes_are_refused(rle, message):
    good = {"size": [3, 2], "counts": "06"}
    with pytest.raises(InputError) as error:
        CroppedMasks.from_coco_rle([good, rle, good], (3, 2))
    assert str(error.value).startswith("mask 1: ")
    assert message in str(error.value)


@fast
@given(st.text(alphabet=st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_any_text_is_either_a_mask_or_refused(text):
    rle = {"size": [3, 2], "counts": text}
    try:
        mask = CroppedMasks.from_coco_rle([rle], (3, 2)).to_dense()[0]
    except InputError:
        return
    np.testing.assert_array_equal(mask, coco_mask.decode({**rle, "counts": text.encode()}))
