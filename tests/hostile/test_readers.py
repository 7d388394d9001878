"""Whatever a file holds, its reader gives what passes its checks, or an InputError."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nucdet.data.conversion.kaggle_csv import read_solution
from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.predictions_io import read_predictions
from nucdet.structures import CroppedMasks

SIZE = (6, 7)
COMMON = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NUMBERS = st.one_of(st.integers(-3, 50), st.integers(), st.floats())
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def check_masks(masks: CroppedMasks, size: tuple[int, int] = SIZE) -> None:
    """Masks of an image: every one within it, and whole by the way back through RLE."""
    assert masks.image_size == size
    dense = masks.to_dense()
    assert dense.shape == (len(masks), *size)
    again = CroppedMasks.from_coco_rle(masks.to_coco_rle(), size)
    assert np.array_equal(again.to_dense(), dense)


@COMMON
@given(st.one_of(st.text(max_size=20), st.lists(st.integers(-5, 50), max_size=8).map(str), VALUES))
def test_coco_rle(counts):
    try:
        masks = CroppedMasks.from_coco_rle([{"size": list(SIZE), "counts": counts}], SIZE)
    except InputError:
        return
    check_masks(masks)


@COMMON
@given(VALUES)
def test_coco_rle_of_any_shape(rle):
    try:
        masks = CroppedMasks.from_coco_rle([rle], SIZE)
    except InputError:
        return
    check_masks(masks)


@COMMON
@given(
    st.one_of(
        st.text(max_size=20), st.lists(NUMBERS, max_size=8).map(lambda n: " ".join(map(str, n)))
    )
)
def test_kaggle_rle(text):
    for read in (CroppedMasks.from_kaggle_rle, CroppedMasks.from_sartorius_rle):
        try:
            masks = read([text], SIZE)
        except InputError:
            continue
        check_masks(masks)


@COMMON
@given(
    st.lists(st.lists(st.one_of(st.integers(-9, 20), st.floats(-9, 20)), max_size=9), max_size=3)
)
def test_polygons(parts):
    try:
        masks = CroppedMasks.from_coco([parts], SIZE)
    except InputError:
        return
    check_masks(masks)


@COMMON
@given(
    st.lists(st.one_of(NUMBERS, st.booleans()), min_size=0, max_size=12),
    st.sampled_from(["u1", "i2", "u4", "i8", "f4", "?", "U3", "O"]),
    st.sampled_from([(2, -1), (-1,), (1, 2, -1)]),
)
def test_label_maps(values, dtype, shape):
    try:
        labels = np.array(values).astype(dtype).reshape(shape)
    except (ValueError, OverflowError, TypeError):
        return  # no such array
    try:
        masks = CroppedMasks.from_label_map(labels)
    except InputError:
        return
    check_masks(masks, labels.shape)
    assert len(masks) == len(np.unique(labels[labels != 0]))


@pytest.mark.filterwarnings("ignore")
@COMMON
@given(
    member=st.sampled_from(["images", "categories", "annotations"]),
    key=st.sampled_from(
        ["id", "file_name", "height", "width", "kind", "name", "image_id", "segmentation"]
    ),
    value=VALUES,
)
def test_coco_json(tmp_path, member, key, value):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 7}],
        "categories": [{"id": 1, "name": "nucleus"}],
        "annotations": [{"id": 1, "image_id": 1, "segmentation": [[1, 1, 4, 1, 4, 4]]}],
    }
    content[member][0][key] = value
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    try:
        truth = GroundTruth(path)
        found = {i: truth.masks(i) for i in truth.images}
    except InputError:
        return
    for image_id, masks in found.items():
        image = truth.image(image_id)
        assert image.stem and image.height > 0 and image.width > 0
        assert masks.image_size == (image.height, image.width)


@COMMON
@given(st.one_of(st.binary(max_size=60), VALUES.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_as_coco_json(tmp_path, data):
    path = tmp_path / "truth.json"
    path.write_bytes(data)
    with pytest.raises(InputError):
        GroundTruth(path)


@COMMON
@given(st.lists(st.lists(st.text(max_size=6), min_size=0, max_size=6), max_size=4), st.booleans())
def test_csv_of_solutions(tmp_path, rows, header):
    lines = ["ImageId,EncodedPixels,Height,Width"] if header else []
    path = tmp_path / "solution.csv"
    path.write_text("\n".join([*lines, *map(",".join, rows)]), encoding="utf-8")
    try:
        truth, ignored, _ = read_solution(path, {"a"})
    except InputError:
        return
    assert set(truth) <= {"a"} and not ignored & set(truth)
    for of_image in truth.values():
        assert len(of_image.codes) == len(of_image.sizes) == len(of_image.rows)
        assert all(isinstance(code, str) for code in of_image.codes)


def test_a_code_longer_than_pythons_limit_of_a_csv_field(tmp_path):
    starts = np.arange(1, 60_000, 2)
    code = " ".join(f"{start} 1" for start in starts)
    assert len(code) > 131_072
    truth, predictions = tmp_path / "truth.json", tmp_path / "predictions.csv"
    image = {"id": 1, "file_name": "a.png", "height": 200, "width": 300}
    truth.write_text(json.dumps({"images": [image], "categories": [], "annotations": []}))
    predictions.write_text(f"ImageId,EncodedPixels\na,{code}\n")
    (found,) = read_predictions(predictions, GroundTruth(truth))
    assert found.masks.areas.tolist() == [len(starts)]
