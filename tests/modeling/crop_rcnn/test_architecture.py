"""CropRCNN as a whole and in parts: what trains, what is found, what happens with nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from nucdet.errors import InputError
from nucdet.layers.stretching import stretch
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.crop_rcnn.architecture import PARTS
from nucdet.modeling.crop_rcnn.backbone import CropResNet
from nucdet.modeling.crop_rcnn.nucleus_filter import NucleusFilter
from nucdet.structures import CroppedMasks

SIDE = 64
# (x0, y0, x1, y1)
BOXES = [(10, 12, 26, 30), (40, 30, 56, 50)]


def make_image(boxes=BOXES, side: int = SIDE, **more) -> dict:
    """A bright rectangle a nucleus on a dark ground, as the mapper gives it."""
    dense = np.zeros((len(boxes), side, side), bool)
    for mask, (x0, y0, x1, y1) in zip(dense, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    truth = Instances((side, side))
    truth.gt_masks = CroppedMasks.from_dense(dense)
    truth.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    truth.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    grey = torch.full((1, side, side), 20, dtype=torch.uint8)
    grey[0, torch.from_numpy(dense.any(axis=0))] = 220
    return {"image": grey, "height": side, "width": side, "instances": truth, **more}


def losses_of(model, inputs) -> dict[str, torch.Tensor]:
    model.train()
    with EventStorage():
        return model(inputs)


def part_of(name: str) -> str:
    return next(p for p, places in PARTS.items() if name.startswith(places))


def brightness(crops: torch.Tensor) -> torch.Tensor:
    """In the filter's place: crops with a mean above 1/2 are nuclei."""
    return (crops.mean(dim=(1, 2, 3)) - 0.5) * 100


# -------------------------------------------------------------------------------- the networks


def test_the_backbone_has_nine_layers_of_5_and_3_and_stride_8():
    backbone = CropResNet((4, 8, 16))
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    path = [m for m in convolutions if m.kernel_size != (1, 1)]  # the others are shortcuts
    assert [m.kernel_size[0] for m in path] == [5] + [3] * 8
    features = backbone(torch.rand(1, 1, 48, 64))
    assert features["res3"].shape == (1, 16, 6, 8)
    assert backbone.output_shape()["res3"] == ShapeSpec(channels=16, stride=8)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in backbone.modules()) == len(convolutions)


def test_a_value_of_the_backbone_sees_what_the_docstring_says():
    backbone = CropResNet((4, 4, 4)).eval()
    for parameter in backbone.parameters():
        parameter.data.abs_()  # no ReLU stops anything
    image = torch.rand(1, 1, 240, 240, requires_grad=True)
    backbone(image)["res3"][0, :, 15, 15].sum().backward()
    rows = image.grad[0, 0].sum(dim=1).nonzero()
    # 121 with a 3×3 convolution at stride 8 after it
    assert rows.max() - rows.min() + 1 == 121 - 16


def test_the_unet_has_eight_layers_of_9_and_keeps_the_size(crop_rcnn):
    head = crop_rcnn().roi_heads.mask_head
    convolutions = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert [m.kernel_size for m in convolutions] == [(9, 9)] * 8
    assert head.layers(torch.rand(3, 1, 32, 32)).shape == (3, 1, 32, 32)


def test_transposed_convolutions_keep_the_size_too(crop_rcnn):
    head = crop_rcnn("MODEL.ROI_MASK_HEAD.NAME", "CropTransposedMaskHead").roi_heads.mask_head
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in head.modules()) == 3
    assert head.layers(torch.rand(3, 1, 32, 32)).shape == (3, 1, 32, 32)


def test_batch_norm_with_one_crop(crop_rcnn):
    model = crop_rcnn().train()
    for network in (model.roi_heads.mask_head.layers, model.roi_heads.nucleus_filter):
        result = network(torch.rand(1, 1, 32, 32))
        assert len(result) == 1 and torch.isfinite(result).all()
    losses = losses_of(model, [make_image(BOXES[:1])])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_batch_norm_learns_nothing_from_no_crops(crop_rcnn):
    model = crop_rcnn().train()
    before = {name: b.clone() for name, b in model.roi_heads.named_buffers()}
    for network in (model.roi_heads.mask_head.layers, model.roi_heads.nucleus_filter):
        result = network(torch.zeros(0, 1, 32, 32))
        assert len(result) == 0
    assert all(torch.equal(b, before[name]) for name, b in model.roi_heads.named_buffers())


# ----------------------------------------------------------------------------------- training


@pytest.mark.parametrize("parts", [("rpn",), ("filter",), ("mask",), ("rpn", "mask"), tuple(PARTS)])
def test_gradients_reach_exactly_the_parts_that_train(crop_rcnn, parts):
    model = crop_rcnn("MODEL.CROP_RCNN.TRAIN_PARTS", str(parts))
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    losses = losses_of(model, [make_image(), make_image(BOXES[1:])])
    names = {"rpn": {"loss_rpn_cls", "loss_rpn_loc"}}
    expected = set().union(*[names.get(part, {f"loss_{part}"}) for part in parts])
    assert set(losses) == expected
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        trains = part_of(name) in parts
        assert parameter.requires_grad == trains, name
        assert (parameter.grad is not None) == trains, name
    reached = {
        part_of(name) for name, p in model.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert reached == set(parts)
    # batch norm's statistics of the others stay too
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            assert torch.equal(buffer, buffers[name]) == (part_of(name) not in parts), name


def test_the_parts_share_nothing(crop_rcnn):
    """The gradient of each loss reaches its own part alone, also in joint training."""
    model = crop_rcnn()
    losses = losses_of(model, [make_image()])
    of_loss = {"loss_rpn_cls": "rpn", "loss_rpn_loc": "rpn"}
    for loss_name, loss in losses.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        reached = {part_of(n) for n, p in model.named_parameters() if p.grad is not None}
        assert reached == {of_loss.get(loss_name, loss_name.removeprefix("loss_"))}


def test_a_frozen_backbone_stays(crop_rcnn):
    model = crop_rcnn(config="crop_rcnn_rpn_frozen")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in model.backbone.modules())
    sum(losses_of(model, [make_image()]).values()).backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith("proposal_generator")}


def test_some_layers_of_the_backbone_frozen():
    backbone = CropResNet((4, 8, 8), freeze_at=2)
    trained = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"1", "2", "3"}  # of its four blocks


def test_unknown_parts_are_one_line(crop_rcnn):
    for parts in ("('rpn', 'unet')", "()"):
        with pytest.raises(InputError, match=r"TRAIN_PARTS is .* expected some of rpn, filter"):
            crop_rcnn("MODEL.CROP_RCNN.TRAIN_PARTS", parts)


@pytest.mark.parametrize("config", ["crop_rcnn", "crop_rcnn_filter", "crop_rcnn_mask"])
def test_training_on_images_without_nuclei(crop_rcnn, config):
    model = crop_rcnn(config=config)
    losses = losses_of(model, [make_image([]), make_image([])])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    state = model.state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())


def test_training_without_proposals(crop_rcnn):
    losses = losses_of(crop_rcnn("MODEL.RPN.POST_NMS_TOPK_TRAIN", "0"), [make_image()])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_crops_of_other_images_are_negatives(crop_rcnn):
    """With nothing else but them: their loss is known."""
    model = crop_rcnn(
        "MODEL.CROP_RCNN.TRAIN_PARTS", "('filter',)",
        "MODEL.NUCLEUS_FILTER.FALSE_PER_IMAGE", "0",
        "MODEL.NUCLEUS_FILTER.BACKGROUND_PER_IMAGE", "0",
    )  # fmt: skip
    nucleus_filter = model.roi_heads.nucleus_filter
    nucleus_filter.nuclei_per_image = 0
    seen = []

    def constant(crops):
        seen.append(crops)
        return torch.full((len(crops),), 2.0)

    nucleus_filter.forward = constant
    others = torch.randint(0, 255, (5, 1, 32, 32), dtype=torch.uint8)
    loss = losses_of(model, [make_image(negative_crops=others)])["loss_filter"]
    torch.testing.assert_close(loss, nn.functional.softplus(torch.tensor(2.0)))
    torch.testing.assert_close(seen[0], others / 255)


def test_the_filter_learns_from_false_proposals(crop_rcnn):
    model = crop_rcnn("MODEL.NUCLEUS_FILTER.BACKGROUND_PER_IMAGE", "0")
    nucleus_filter: NucleusFilter = model.roi_heads.nucleus_filter
    truth = make_image()["instances"]
    proposals = Boxes(torch.tensor([*BOXES, (28.0, 50, 36, 60)]))
    negatives = nucleus_filter.negatives(proposals, truth)
    assert negatives.tensor.tolist() == [[28, 50, 36, 60]]


# ---------------------------------------------------------------------------------- inference


def given(*boxes, scores=None) -> Instances:
    found = Instances((SIDE, SIDE))
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.scores = torch.tensor(scores or [0.9] * len(boxes))
    found.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return found


def test_masks_are_pasted_where_their_boxes_are(crop_rcnn):
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
def test_the_filter_drops_rescores_or_is_off(crop_rcnn, mode, scores):
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
def test_predicting_nothing(crop_rcnn, mode):
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


def test_predictions_do_not_depend_on_what_else_is_in_the_batch(crop_rcnn):
    model = crop_rcnn("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0").eval()
    images = [{k: v for k, v in make_image().items() if k != "instances"} for _ in range(2)]
    images[1]["image"] = images[1]["image"].flip(2)
    with torch.no_grad():
        together = model(images)
        alone = [model([x])[0] for x in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["instances"]) == len(b["instances"]) > 0
        torch.testing.assert_close(a["instances"].scores, b["instances"].scores)


def test_images_are_stretched_if_wanted(crop_rcnn):
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


# --------------------------------------------------------------------- the filter as a backbone


def test_the_rpn_starts_from_the_filter(crop_rcnn, tmp_path):
    torch.manual_seed(1)
    trained = crop_rcnn()
    nn.init.normal_(trained.roi_heads.nucleus_filter.backbone.stem.layers[0].weight)
    torch.save({"model": trained.state_dict()}, tmp_path / "filter.pth")
    for config in ("crop_rcnn_rpn", "crop_rcnn_rpn_frozen"):  # frozen: other kind of batch norm
        model = crop_rcnn(config=config)
        NucleusCheckpointer(model).load(f"filter://{tmp_path / 'filter.pth'}")
        source = trained.roi_heads.nucleus_filter.backbone.state_dict()
        for name, value in model.backbone.state_dict().items():
            torch.testing.assert_close(value, source[name], msg=name)
    # everything else is as in the file
    expected = trained.roi_heads.mask_head.state_dict()
    for name, value in model.roi_heads.mask_head.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_weights_without_a_filter_are_one_line(crop_rcnn, tmp_path):
    model = crop_rcnn("MODEL.NUCLEUS_FILTER.MODE", "off")
    torch.save({"model": model.state_dict()}, tmp_path / "none.pth")
    with pytest.raises(InputError, match=r"none\.pth: holds no nucleus filter"):
        NucleusCheckpointer(crop_rcnn()).load(f"filter://{tmp_path / 'none.pth'}")


# -------------------------------------------------------------------------- inside Mask R-CNN


@pytest.fixture(scope="module")
def filtered(crop_cfg):
    torch.manual_seed(0)
    return build_model(crop_cfg(config="mask_rcnn_lite0_FPN_filter")).eval()


@pytest.mark.parametrize(("mode", "expected"), [("drop", [0.9]), ("rescore", [0.9])])
def test_the_filter_judges_the_detections_of_mask_rcnn(filtered, monkeypatch, mode, expected):
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
