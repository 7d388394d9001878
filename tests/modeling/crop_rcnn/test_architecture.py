"""CropRCNN in training: its networks, what trains, what happens with nothing to learn from."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.crop_rcnn import nucleus_filter
from nucdet.modeling.crop_rcnn.architecture import PARTS
from nucdet.modeling.crop_rcnn.backbone import CropResNet
from nucdet.modeling.crop_rcnn.nucleus_filter import NucleusFilter
from nucdet.train.solver import build_optimizer

SIDE = 64

# (x0, y0, x1, y1)
BOXES = [(10, 12, 26, 30), (40, 30, 56, 50)]


def losses_of(model, inputs) -> dict[str, torch.Tensor]:
    model.train()
    with EventStorage():
        return model(inputs)


def part_of(name: str) -> str:
    return next(p for p, places in PARTS.items() if name.startswith(places))


# -------------------------------------------------------------------------------- the networks


def test_a_function_may_be_applied_to_all_parts(crop_rcnn):
    model, seen = crop_rcnn("MODEL.NUCLEUS_FILTER.MODE", "drop"), []
    model.apply(seen.append)  # as torch's modules have it
    assert set(seen) == set(model.modules())


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


def test_batch_norm_with_one_crop(crop_rcnn, make_image):
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
def test_gradients_reach_exactly_the_parts_that_train(crop_rcnn, parts, make_image):
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


def test_the_parts_share_nothing(crop_rcnn, make_image):
    """The gradient of each loss reaches its own part alone, also in joint training."""
    model = crop_rcnn()
    losses = losses_of(model, [make_image()])
    of_loss = {"loss_rpn_cls": "rpn", "loss_rpn_loc": "rpn"}
    for loss_name, loss in losses.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        reached = {part_of(n) for n, p in model.named_parameters() if p.grad is not None}
        assert reached == {of_loss.get(loss_name, loss_name.removeprefix("loss_"))}


def test_a_frozen_backbone_stays(crop_rcnn, make_image):
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


def test_a_filter_that_is_off_cannot_train_alone(crop_cfg, crop_rcnn):
    pairs = ("MODEL.CROP_RCNN.TRAIN_PARTS", "('filter',)", "MODEL.NUCLEUS_FILTER.MODE", "off")
    with pytest.raises(InputError, match=r"nothing to train \(the config freezes every part"):
        build_optimizer(crop_cfg(*pairs), crop_rcnn(*pairs))


def test_color_images_are_one_line(crop_rcnn):
    three = "[0.0, 0.0, 0.0]", "[255.0, 255.0, 255.0]"
    with pytest.raises(InputError, match=r"takes grey images; set INPUT\.FORMAT 'L'"):
        crop_rcnn("INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", three[0], "MODEL.PIXEL_STD", three[1])


@pytest.mark.parametrize("config", ["crop_rcnn", "crop_rcnn_filter", "crop_rcnn_mask"])
def test_training_on_images_without_nuclei(crop_rcnn, config, make_image):
    model = crop_rcnn(config=config)
    losses = losses_of(model, [make_image([]), make_image([])])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    state = model.state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())


def test_training_without_proposals(crop_rcnn, make_image):
    losses = losses_of(crop_rcnn("MODEL.RPN.POST_NMS_TOPK_TRAIN", "0"), [make_image()])
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_crops_of_other_images_are_negatives(crop_rcnn, make_image, monkeypatch):
    """With nothing else but them: their loss is known."""
    model = crop_rcnn(
        "MODEL.CROP_RCNN.TRAIN_PARTS", "('filter',)",
        "MODEL.NUCLEUS_FILTER.FALSE_PER_IMAGE", "0",
        "MODEL.NUCLEUS_FILTER.BACKGROUND_PER_IMAGE", "0",
    )  # fmt: skip
    monkeypatch.setattr(nucleus_filter, "NUCLEI_PER_IMAGE", 0)
    seen = []

    def constant(crops):
        seen.append(crops)
        return torch.full((len(crops),), 2.0)

    model.roi_heads.nucleus_filter.forward = constant
    others = torch.randint(0, 255, (5, 1, 32, 32), dtype=torch.uint8)
    loss = losses_of(model, [make_image(negative_crops=others)])["loss_filter"]
    torch.testing.assert_close(loss, nn.functional.softplus(torch.tensor(2.0)))
    torch.testing.assert_close(seen[0], others / 255)


def test_the_filter_learns_from_false_proposals(crop_rcnn, make_image):
    model = crop_rcnn("MODEL.NUCLEUS_FILTER.BACKGROUND_PER_IMAGE", "0")
    nucleus_filter: NucleusFilter = model.roi_heads.nucleus_filter
    truth = make_image()["instances"]
    proposals = Boxes(torch.tensor([*BOXES, (28.0, 50, 36, 60)]))
    negatives = nucleus_filter.negatives(proposals, truth)
    assert negatives.tensor.tolist() == [[28, 50, 36, 60]]


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
