"""CroppedMasks: conversions against slow code, and the place of dense masks in Detectron2."""

import time

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

fast = settings(deadline=None, max_examples=60)
dense_masks = arrays(
    bool,
    st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)),
    elements=st.booleans(),
)


def three_masks() -> np.ndarray:
    """A 2x3 block, an empty mask, and a corner pixel that lies in no block; image 5x6."""
    dense = np.zeros((3, 5, 6), dtype=bool)
    dense[0, 1:3, 2:5] = True
    dense[2, 4, 5] = True
    return dense


def test_geometry_known_by_hand():
    masks = CroppedMasks.from_dense(three_masks())
    assert masks.offsets.tolist() == [[1, 2], [0, 0], [4, 5]]
    assert [crop.shape for crop in masks.crops] == [(2, 3), (0, 0), (1, 1)]
    assert masks.areas.tolist() == [6, 0, 1]
    assert masks.boxes.tolist() == [[2, 1, 5, 3], [0, 0, 0, 0], [5, 4, 6, 5]]
    assert masks.nonempty().tolist() == [True, False, True]
    assert repr(masks) == "CroppedMasks(num_instances=3, image_size=(5, 6))"


@fast
@given(dense_masks)
def test_every_form_leads_back_to_the_same_masks(dense):
    masks = CroppedMasks.from_dense(dense)
    size = dense.shape[1:]
    forms = [
        masks,
        CroppedMasks.from_dense(torch.from_numpy(dense)),
        CroppedMasks.from_windows(np.zeros((len(dense), 2)), list(dense), size),
        CroppedMasks.from_coco_rle(masks.to_coco_rle(), size),
        CroppedMasks.from_kaggle_rle(masks.to_kaggle_rle(), size),
        CroppedMasks.from_sartorius_rle(masks.to_sartorius_rle(), size),
    ]
    for form in forms:
        np.testing.assert_array_equal(form.to_dense(), dense)
        np.testing.assert_array_equal(form.boxes, BitMasks(dense).get_bounding_boxes().tensor)
        assert form.areas.tolist() == dense.sum(axis=(1, 2)).tolist()


@fast
@given(
    arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4))
)
def test_label_map_gives_its_labels_in_ascending_order(labels):
    values = np.unique(labels[labels > 0])
    # the last is beyond what a lookup table of the map's size would hold
    for scale, dtype in ((1, np.uint8), (1, ">u2"), (1, np.uint64), (10**9, np.int64)):
        masks = CroppedMasks.from_label_map(labels.astype(dtype) * np.array(scale, dtype))
        np.testing.assert_array_equal(
            masks.to_dense(), np.array([labels == v for v in values]).reshape(-1, *labels.shape)
        )
    np.testing.assert_array_equal(masks.to_label_map(), np.searchsorted(values, labels, "right"))


def test_label_map_puts_the_lower_index_on_top():
    dense = np.zeros((2, 1, 4), dtype=bool)
    dense[0, 0, :3] = dense[1, 0, 1:] = True
    masks = CroppedMasks.from_dense(dense)
    assert masks.to_label_map().tolist() == [[1, 1, 1, 2]]
    assert masks.paint(np.array([0, 1])).tolist() == [[1, 2, 2, 2]]
    assert masks.to_label_map().dtype == np.int32


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.zeros((2, 2, 3), int), "shape (2, 2, 3)"),
        (np.zeros((2, 2), np.float32), "float32"),
        (np.array([[0, -3]]), "label -3"),
    ],
)
def test_what_is_no_label_map_is_refused(labels, found):
    with pytest.raises(InputError) as error:
        CroppedMasks.from_label_map(labels)
    assert found in str(error.value)


@pytest.mark.parametrize(
    "masks", [np.zeros((2, 2), bool), np.zeros((1, 2, 2)), torch.zeros(1, 2, 2)]
)
def test_what_are_no_dense_masks_is_refused(masks):
    with pytest.raises(InputError, match="expected NxHxW of bool or integers"):
        CroppedMasks.from_dense(masks)


def test_from_any_takes_what_detectron2_holds():
    dense = three_masks()
    masks = CroppedMasks.from_dense(dense)
    assert CroppedMasks.from_any(masks) is masks
    for other in (dense, dense.astype(np.uint8) * 255, torch.from_numpy(dense), BitMasks(dense)):
        np.testing.assert_array_equal(CroppedMasks.from_any(other).to_dense(), dense)


def test_crops_do_not_keep_the_dense_array_alive():
    masks = CroppedMasks.from_dense(dense := three_masks())
    dense[:] = False
    assert masks.areas.tolist() == [6, 0, 1]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (1, [1]),
        (-1, [2]),
        (np.int64(2), [2]),
        (slice(1, None), [1, 2]),
        ([2, 0, 2], [2, 0, 2]),
        ([], []),
        ([True, False, True], [0, 2]),
        (np.array([True, False, False]), [0]),
        (torch.tensor([2, 1]), [2, 1]),
        (torch.tensor([False, True, True]), [1, 2]),
        (torch.tensor(2), [2]),
    ],
)
def test_indexing(item, expected):
    dense = three_masks()
    np.testing.assert_array_equal(CroppedMasks.from_dense(dense)[item].to_dense(), dense[expected])


@pytest.mark.parametrize("item", [3, -4, [0, 3], np.array([True, False])])
def test_indexing_beyond_the_end_is_an_error(item):
    with pytest.raises(IndexError):
        CroppedMasks.from_dense(three_masks())[item]


def test_it_lives_in_instances():
    dense = three_masks()
    instances = Instances((5, 6), pred_masks=CroppedMasks.from_dense(dense))
    instances.scores = torch.tensor([0.9, 0.8, 0.7])
    picked = instances[instances.scores < 0.85].to("cpu")
    np.testing.assert_array_equal(picked.pred_masks.to_dense(), dense[1:])
    joined = Instances.cat([picked, instances])
    np.testing.assert_array_equal(np.asarray(joined.pred_masks), dense[[1, 2, 0, 1, 2]])
    assert len(instances[1]) == 1


def test_it_reads_as_dense_masks():
    dense = three_masks()
    masks = CroppedMasks.from_dense(dense)
    assert all((a == b).all() and a.dtype == bool for a, b in zip(masks, dense, strict=True))
    assert np.asarray(masks).dtype == bool
    assert np.asarray(masks, dtype=np.uint8).dtype == np.uint8
    with pytest.raises(ValueError, match="copy"):
        np.asarray(masks, copy=False)


def test_detectron2_filters_and_evaluates_it():
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    masks = CroppedMasks.from_dense(three_masks())
    instances = Instances((5, 6), pred_masks=masks, scores=torch.ones(3))
    instances.pred_classes = torch.zeros(3, dtype=torch.long)
    instances.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    results = instances_to_coco_json(instances, 7)
    assert [r["segmentation"] for r in results] == masks.to_coco_rle()
    assert results[0]["bbox"] == [2, 1, 3, 2]


def test_no_masks_at_all():
    masks = CroppedMasks(np.zeros((0, 2)), [], (4, 3))
    assert masks.boxes.shape == (0, 4)
    assert masks.areas.shape == (0,)
    assert masks.to_dense().shape == (0, 4, 3)
    assert masks.to_coco_rle() == masks.to_kaggle_rle() == []
    assert not masks.to_label_map().any()
    assert len(CroppedMasks.cat([masks, masks])) == len(masks[[]]) == 0
    assert masks.crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)


def test_an_empty_image_has_its_size_and_joins_others():
    nothing = CroppedMasks.empty((4, 6))
    assert len(nothing) == 0 and nothing.to_dense().shape == (0, 4, 6)
    one = CroppedMasks.from_dense(np.ones((1, 4, 6), bool))
    assert CroppedMasks.cat([nothing, one]).areas.tolist() == [24]


def test_construction_refuses_what_does_not_fit():
    pixel = np.ones((1, 1), dtype=bool)
    for offsets, crops in [
        ([(0, 0)], []),
        ([(4, 0)], [pixel]),
        ([(0, -1)], [pixel]),
        ([(0, 0)], [pixel.astype(np.uint8)]),
    ]:
        with pytest.raises(ValueError, match="crop"):
            CroppedMasks(offsets, crops, (4, 3))
    with pytest.raises(ValueError, match="image size"):
        CroppedMasks.cat([CroppedMasks([], [], (4, 3)), CroppedMasks([], [], (4, 4))])


def test_a_dense_image_is_coded_in_one_pass():
    tile = np.zeros((36, 36), dtype=bool)
    tile[3:30, 5:28] = True
    tile[10:14, 10:14] = False
    labels = np.kron(np.arange(1, 2917).reshape(54, 54), np.ones((36, 36), int)) * np.tile(
        tile, (54, 54)
    )
    begin = time.process_time()
    rles = CroppedMasks.from_label_map(labels).to_coco_rle()
    # 0.05 s on a laptop core; mask by mask over the whole image it would be 10 s
    assert time.process_time() - begin < 2
    assert len(rles) == 54 * 54


def test_outside_leaves_what_is_not_covered():
    dense = np.zeros((2, 4, 6), bool)
    dense[0, :2, :3] = dense[1, 2:, 4:] = True
    covered = np.zeros((4, 6), bool)
    covered[:, 1:5] = True
    left = CroppedMasks.from_dense(dense).outside(covered)
    assert np.array_equal(np.asarray(left), dense & ~covered)
    assert left.areas.tolist() == [2, 2]
    assert CroppedMasks.from_dense(dense).outside(np.ones((4, 6), bool)).areas.tolist() == [0, 0]
