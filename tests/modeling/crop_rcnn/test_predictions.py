"""What CropRCNN finds, and its filter and mask network inside Mask R-CNN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances

from nucdet.errors import InputError
from nucdet.layers.stretching import stretch
from nucdet.structures import CroppedMasks

SIDE = 64

# (x0, y0, x1, y1)
BOXES = [(10, 12, 26, 30), (40, 30, 56, 50)]


def brightness(crops: torch.Tensor) -> torch.Tensor:
    """In the filter's place: crops with a mean above 1/2 are nuclei."""
    return (crops.mean(dim=(1, 2, 3)) - 0.5) * 100


# ---------------------------------------------------------------------------------- inference


def given(*boxes, scores=None) -> Instances:
    found = Instances((SIDE, SIDE))
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.scores = torch.tensor(scores or [0.9] * len(boxes))
    found.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return found


def test_masks_are_pasted_where_their_boxes_are(crop_rcnn, make_image):
    """A mask network that takes what is bright: each mask is the rectangle in its box."""
    model = crop_rcnn().eval()
    model.roi_heads.mask_head.logits = lambda crops: (crops - 0.5) * 100
    loose = [(x0 - 4, y0 - 3, x1 + 4, y1 + 5) for x0, y0, x1, y1 in BOXES]
    inputs = make_image()
    with torch.no_grad():
        output = model.inference([inputs], [given(*loose)])[0]["instances"]
    truth = inputs["instances"].gt_masks.to_dense()
    found = output.pred_masks.to_dense()
    for mask, true in zip(found, truth, strict=True):
        assert (mask & true).sum() / (mask | true).sum() > 0.9
    # of an image that is shown twice as large
    with torch.no_grad():
        larger = {**inputs, "height": 2 * SIDE, "width": 2 * SIDE}
        output = model.inference([larger], [given(*loose)])[0]["instances"]
    assert output.pred_masks.image_size == (2 * SIDE, 2 * SIDE)
    twice = np.array(BOXES) * 2
    assert np.abs(output.pred_masks.boxes - twice).max() <= 3


def test_proposals_become_detections_with_their_objectness(crop_rcnn):
    heads = crop_rcnn("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.5").roi_heads
    proposed = Instances((SIDE, SIDE))
    proposed.proposal_boxes = Boxes(torch.tensor([*BOXES, (0.0, 0, 9, 9)]))
    proposed.objectness_logits = torch.tensor([0.0, 1.0, -0.1])
    found = heads.detections([proposed])[0]
    torch.testing.assert_close(found.scores, torch.tensor([0.0, 1.0]).sigmoid())
    assert found.pred_boxes.tensor.tolist() == [list(box) for box in BOXES]


DARK = (28, 4, 38, 14)


@pytest.mark.parametrize(
    ("mode", "scores"), [("drop", [0.9, 0.6]), ("rescore", [0.9, 0.6]), ("off", [0.9, 0.7, 0.6])]
)
def test_the_filter_drops_rescores_or_is_off(crop_rcnn, mode, scores, make_image):
    heads = crop_rcnn("MODEL.NUCLEUS_FILTER.MODE", mode).eval().roi_heads
    assert (heads.nucleus_filter is None) == (mode == "off")
    if mode != "off":
        heads.nucleus_filter.forward = brightness
    image = make_image()["image"][None] / 255
    found = given(BOXES[0], BOXES[1], DARK, scores=[0.6, 0.9, 0.7])
    kept = heads.keep(image, [found])[0]
    torch.testing.assert_close(kept.scores, torch.tensor(scores))
    # the surest first
    assert kept.pred_boxes.tensor[0].tolist() == list(BOXES[1])


def test_rescoring_multiplies(crop_rcnn):
    heads = crop_rcnn("MODEL.NUCLEUS_FILTER.MODE", "rescore").eval().roi_heads
    heads.test_score_thresh = 0.0
    heads.nucleus_filter.forward = lambda crops: torch.full((len(crops),), 1.0986123)  # 3 to 1
    kept = heads.keep(torch.rand(1, 1, SIDE, SIDE), [given(*BOXES, scores=[0.8, 0.4])])[0]
    torch.testing.assert_close(kept.scores, torch.tensor([0.6, 0.3]))


def test_the_limit_of_detections_takes_the_surest(crop_rcnn):
    heads = crop_rcnn("MODEL.NUCLEUS_FILTER.MODE", "off", "TEST.DETECTIONS_PER_IMAGE", "1")
    kept = heads.roi_heads.keep(torch.rand(1, 1, 9, 9), [given(*BOXES, scores=[0.6, 0.8])])[0]
    assert len(kept) == 1 and kept.scores[0] == 0.8


@pytest.mark.parametrize("mode", ["drop", "rescore", "off"])
def test_predicting_nothing(crop_rcnn, mode, make_image):
    model = crop_rcnn("MODEL.NUCLEUS_FILTER.MODE", mode).eval()
    model.roi_heads.test_score_thresh = 1.1
    inputs = [make_image([]), make_image(side=40, boxes=[])]
    with torch.no_grad():
        outputs = model(inputs)
    for output, x in zip(outputs, inputs, strict=True):
        found = output["instances"]
        assert len(found) == 0 and found.image_size == (x["height"], x["width"])
        assert isinstance(found.pred_masks, CroppedMasks)
        assert len(found.pred_masks) == len(found.scores) == 0


def test_predictions_do_not_depend_on_what_else_is_in_the_batch(crop_rcnn, make_image):
    model = crop_rcnn("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0").eval()
    images = [{k: v for k, v in make_image().items() if k != "instances"} for _ in range(2)]
    images[1]["image"] = images[1]["image"].flip(2)
    with torch.no_grad():
        together = model(images)
        alone = [model([x])[0] for x in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["instances"]) == len(b["instances"]) > 0
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores)


def test_images_are_stretched_if_wanted(crop_rcnn, make_image):
    inputs = [make_image()]
    seen = crop_rcnn().preprocess_image(inputs).tensor
    assert seen.unique().tolist() == [0, 1]
    plain = crop_rcnn("MODEL.CROP_RCNN.STRETCH", "False").preprocess_image(inputs).tensor
    torch.testing.assert_close(plain, inputs[0]["image"][None] / 255)
    assert inputs[0]["image"].dtype == torch.uint8  # the caller's stays


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.NUCLEUS_FILTER.MODE", "on", "expected one of"),
        ("MODEL.CROP_RCNN.UNET_CHANNELS", "(8, 8)", "four numbers"),
    ],
)
def test_wrong_values_are_one_line(crop_rcnn, key, value, message):
    with pytest.raises(InputError, match=message):
        crop_rcnn(key, value)


# -------------------------------------------------------------------------- inside Mask R-CNN


@pytest.fixture(scope="module")
def filtered(crop_cfg):
    torch.manual_seed(0)
    return build_model(crop_cfg(config="mask_rcnn_lite0_FPN_filter")).eval()


@pytest.mark.parametrize(("mode", "expected"), [("drop", [0.9]), ("rescore", [0.9])])
def test_the_filter_judges_the_detections_of_mask_rcnn(
    filtered, monkeypatch, mode, expected, make_image
):
    heads = filtered.roi_heads
    monkeypatch.setattr(heads.nucleus_filter, "mode", mode)
    monkeypatch.setattr(heads.nucleus_filter, "forward", brightness)
    monkeypatch.setattr(
        "detectron2.modeling.roi_heads.StandardROIHeads._forward_box",
        lambda self, features, proposals: [given(BOXES[1], DARK, scores=[0.9, 0.8])],
    )
    image = make_image()["image"][None] / 255
    found = heads._forward_box({"image": image}, [Instances((SIDE, SIDE))])[0]
    torch.testing.assert_close(found.scores, torch.tensor(expected))


def test_the_pyramid_hands_on_the_grey_image(filtered):
    rgb = torch.randint(0, 255, (3, SIDE, SIDE), dtype=torch.uint8)
    images: ImageList = filtered.preprocess_image([{"image": rgb}])
    with torch.no_grad():
        features = filtered.backbone(images.tensor)
    grey = rgb.float().mean(dim=0)
    torch.testing.assert_close(features["image"][0, 0], stretch(grey))
    with torch.no_grad():
        filtered.backbone.stretch = False
        features = filtered.backbone(images.tensor)
        filtered.backbone.stretch = True
    torch.testing.assert_close(features["image"][0, 0], grey / 255)


def test_a_crop_head_without_the_image_is_one_line(crop_cfg):
    cfg = crop_cfg("MODEL.ROI_MASK_HEAD.IN_FEATURES", "()", config="mask_rcnn_lite0_FPN_crop_unet")
    with pytest.raises(InputError, match="IN_FEATURES"):
        build_model(cfg)
