"""NucleusRCNN against Detectron2's GeneralizedRCNN, and the pasting of masks against its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from nucdet.config import load_config
from nucdet.structures import CroppedMasks
from nucdet.structures.paste import paste_masks


@pytest.fixture(scope="module")
def models(repository):
    """NucleusRCNN and GeneralizedRCNN with the same random weights."""
    built = []
    # Detectron2 knows no other mask threshold
    common = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.ROI_MASK_HEAD.MASK_THRESH", "0.5"]
    for name in ("NucleusRCNN", "GeneralizedRCNN"):
        cfg = load_config(
            repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml",
            ["MODEL.META_ARCHITECTURE", name, *common],
        )
        torch.manual_seed(0)
        built.append(build_model(cfg).eval())
    built[1].load_state_dict(built[0].state_dict())
    return built


def smooth_masks(count: int, side: int = 28) -> torch.Tensor:
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")[:, 0]


def boxes_around(image_size: tuple[int, int], count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    height, width = image_size
    corner = torch.rand(count, 2, generator=random) * torch.tensor([width, height])
    boxes = torch.cat([corner, corner + 1 + 40 * torch.rand(count, 2, generator=random)], dim=1)
    boxes[0] = torch.tensor([0.0, 0.0, width, height])  # one as large as the image
    boxes[1] = torch.tensor([3.0, 0.0, 3.3, 0.2])  # one smaller than a pixel, off its center
    clipped = Boxes(boxes)
    clipped.clip(image_size)
    return clipped[clipped.nonempty()].tensor


@pytest.mark.parametrize("image_size", [(150, 210), (40, 33), (8, 8), (1, 300)])
def test_paste_masks_is_detectron2s(image_size):
    boxes = boxes_around(image_size, 200)
    masks = smooth_masks(len(boxes))
    pasted = paste_masks(masks, boxes, image_size)
    reference = paste_masks_in_image(masks, boxes, image_size).numpy()
    dense = pasted.to_dense()
    assert reference.sum() > 100
    # a probability within rounding of one half may fall to either side
    assert (dense != reference).sum() <= 1e-4 * reference.sum()


def test_pasted_crops_are_tight():
    boxes = boxes_around((150, 210), 200)
    pasted = paste_masks(smooth_masks(len(boxes)), boxes, (150, 210))
    again = CroppedMasks.from_dense(pasted.to_dense())
    np.testing.assert_array_equal(pasted.offsets, again.offsets)
    assert [c.shape for c in pasted.crops] == [c.shape for c in again.crops]


def test_a_full_mask_fills_its_box():
    pasted = paste_masks(torch.ones(1, 28, 28), torch.tensor([[2.0, 3.0, 6.0, 5.0]]), (9, 10))
    assert pasted.boxes.tolist() == [[2, 3, 6, 5]]
    assert pasted.areas.tolist() == [8]


def test_pasting_nothing():
    assert len(paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (9, 10))) == 0
    # certain background, and a box outside the image
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0], [20.0, 0.0, 25.0, 5.0]])
    pasted = paste_masks(torch.tensor([0.1, 1.0])[:, None, None].expand(2, 28, 28), boxes, (9, 10))
    assert pasted.areas.tolist() == [0, 0]


def test_masks_of_given_boxes_are_generalized_rcnns(models):
    """From given boxes on: random weights find none themselves."""
    image = torch.randint(0, 255, (3, 96, 128), dtype=torch.uint8)
    given = Instances((96, 128))
    given.pred_boxes = Boxes(torch.rand(30, 4) * 50 + torch.tensor([0.0, 0.0, 50.0, 40.0]))
    given.pred_classes = torch.zeros(30, dtype=torch.int64)
    given.scores = torch.linspace(1, 0.5, 30)
    inputs = [{"image": image, "height": 60, "width": 70}]
    before = given.pred_boxes.tensor.clone()
    with torch.no_grad():
        ours = models[0].inference(inputs, [given.to("cpu")])[0]["instances"]
        assert torch.equal(given.pred_boxes.tensor, before)
        stock = models[1].inference(inputs, [given.to("cpu")])[0]["instances"]
    assert isinstance(ours.pred_masks, CroppedMasks)
    assert ours.image_size == ours.pred_masks.image_size == (60, 70)
    torch.testing.assert_close(ours.pred_boxes.tensor, stock.pred_boxes.tensor)
    assert torch.equal(ours.scores, stock.scores)
    different = ours.pred_masks.to_dense() != stock.pred_masks.numpy()
    assert different.sum() <= 1e-3 * max(1, stock.pred_masks.sum())
    assert stock.pred_masks.any()


def test_threshold_comes_from_the_config(repository):
    cfg = load_config(
        repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml",
        ["MODEL.ROI_MASK_HEAD.MASK_THRESH", "0.7", "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"],
    )
    assert build_model(cfg).mask_threshold == 0.7
