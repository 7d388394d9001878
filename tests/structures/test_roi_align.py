"""crop_and_resize: what BitMasks gives, without its N x H x W."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks
from scipy import ndimage

from nucdet.structures import CroppedMasks
from nucdet.structures.roi_align import roi_align_crops


def blobs(seed: int, count: int, size: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(seed).random((count, *size))
    return ndimage.gaussian_filter(noise, (0, 3, 3)) > 0.5


def boxes_around(masks: CroppedMasks, which: np.ndarray, jitter: float) -> torch.Tensor:
    """Boxes of masks, sides moved by about ``jitter`` times the box; some leave the image."""
    boxes = masks.boxes[which]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + jitter * sides * np.random.default_rng(5).standard_normal(boxes.shape)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    return torch.from_numpy(np.concatenate([low, high], axis=1)).float()


@pytest.mark.parametrize("mask_size", [7, 28])
@pytest.mark.parametrize("jitter", [0.0, 0.1, 1.5])
def test_as_bitmasks(mask_size, jitter):
    dense = blobs(seed=0, count=6, size=(64, 90))
    dense[4] = False
    dense[5, 20:23, 30:34] = True
    dense[5, 23:] = False
    masks = CroppedMasks.from_dense(dense)
    which = np.random.default_rng(1).integers(0, 6, 200)
    boxes = boxes_around(masks, which, jitter)
    # crops of both memory orders
    for source in (masks, CroppedMasks.from_coco_rle(masks.to_coco_rle(), masks.image_size)):
        ours = source[which].crop_and_resize(boxes, mask_size)
        theirs = BitMasks(dense[which]).crop_and_resize(boxes, mask_size)
        assert ours.dtype == torch.bool and ours.shape == theirs.shape
        values = roi_align_crops(
            source[which].crops, source[which].offsets, source.image_size, boxes, mask_size
        )
        # sums in another order: a bin that is 0.5 but for rounding may fall to the other side
        clear = (values - 0.5).abs() > 1e-5
        assert torch.equal(ours[clear], theirs[clear])
        assert clear.float().mean() > 0.99
        assert theirs.float().mean() > 0.01


def test_known_by_hand():
    """The left half of a box is mask: bins 0 and 1 of 4 are full, whatever the rows."""
    dense = np.zeros((1, 20, 20), dtype=bool)
    dense[0, 2:18, 4:8] = True
    result = CroppedMasks.from_dense(dense).crop_and_resize(torch.tensor([[4.0, 2, 12, 18]]), 4)
    assert result[0].tolist() == [[True, True, False, False]] * 4


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8, 9])
def test_a_lone_mask_of_any_size(side):
    """Also the sliver of a few pixels that a crop of training leaves of a nucleus."""
    dense = np.zeros((1, 20, 20), dtype=bool)
    dense[0, 3 : 3 + side, 5 : 5 + side] = True
    box = torch.tensor([[5.0, 3, 5 + side, 3 + side]])
    expected = BitMasks(dense).crop_and_resize(box, 14)
    assert expected[0, 7, 7]
    assert torch.equal(CroppedMasks.from_dense(dense).crop_and_resize(box, 14), expected)


def test_boxes_beside_the_mask_or_without_extent_give_nothing():
    dense = np.zeros((3, 20, 20), dtype=bool)
    dense[:, 2:8, 2:8] = True
    boxes = torch.tensor([[12.0, 12, 18, 18], [-50, -50, -30, -30], [4, 4, 4, 4]])
    assert not CroppedMasks.from_dense(dense).crop_and_resize(boxes, 5).any()


def test_half_precision_training_changes_nothing():
    dense = blobs(seed=3, count=4, size=(50, 50))
    masks = CroppedMasks.from_dense(dense)
    boxes = boxes_around(masks, np.arange(4), 0.1)
    expected = masks.crop_and_resize(boxes, 28)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(masks.crop_and_resize(boxes, 28), expected)


def test_one_box_a_mask():
    masks = CroppedMasks.from_dense(np.ones((2, 3, 3), dtype=bool))
    with pytest.raises(ValueError, match="3 boxes for 2 masks"):
        masks.crop_and_resize(torch.zeros(3, 4), 7)
