import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from scipy import ndimage

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.modeling.center_voting.losses import center_voting_losses
from nucdet.modeling.center_voting.segmentor import CenterVotingSegmentor
from nucdet.modeling.center_voting.targets import center_targets
from nucdet.structures import CroppedMasks

CONFIG = "configs/DSB2018/center_voting_lite0.yaml"
NO_WEIGHTS = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"]


@pytest.fixture
def config_file(request):
    return request.config.rootpath / CONFIG


@pytest.fixture
def model(config_file):
    torch.manual_seed(0)
    return build_model(load_config(config_file, NO_WEIGHTS))


def discs():
    labels = np.zeros((64, 96), np.int32)
    rows, columns = np.indices(labels.shape)
    for i, (y, x) in enumerate([(20, 20), (20, 38), (44, 60), (62, 90)]):
        labels[(np.hypot(rows - y, columns - x) <= 10) & (labels == 0)] = i + 1
    return labels


def perfect_logits(targets, scale):
    """What the network would have to say: (1, 4, H, W) of targets (5, H, W)."""
    sure = 20 * (2 * targets[0] - 1)
    depth = targets[1].clamp(1e-6, 1 - 1e-6).logit()
    return torch.stack([sure, depth, *(targets[2:4] / scale)])[None]


class Oracle(torch.nn.Module):
    """A network that says what ``maps`` of an image should be, whatever it sees."""

    size_divisibility = 1

    def __init__(self, logits, output_stride=1):
        super().__init__()
        self.logits, self.output_stride = logits, output_stride

    def forward(self, images):
        return self.logits


def test_true_maps_cost_nothing_and_wrong_ones_something():
    targets = torch.from_numpy(center_targets(CroppedMasks.from_label_map(discs())))[None]
    valid = torch.ones(1, 64, 96)
    perfect = perfect_logits(targets[0], 16)
    losses = center_voting_losses(perfect, targets, valid, 16)
    assert losses == pytest.approx(dict.fromkeys(losses, 0), abs=1e-4)
    for channel, name in enumerate(["loss_foreground", "loss_depth", "loss_offset"]):
        wrong = perfect.clone()
        wrong[:, channel] *= -1
        assert center_voting_losses(wrong, targets, valid, 16)[name] > 0.1


def test_offset_loss_by_hand():
    targets = torch.zeros(1, 5, 1, 2)
    targets[:, [0, 4], :, 0] = 1  # the first pixel is a nucleus of its own
    logits = torch.zeros(1, 4, 1, 2)
    logits[:, 2, :, 0] = 0.5  # half the scale too far
    logits[:, 3, :, 1] = 9  # in the background, where it does not count
    losses = center_voting_losses(logits, targets, torch.ones(1, 1, 2), 16)
    assert losses["loss_offset"].item() == pytest.approx(0.5 - 0.05 / 2)
    # ln 2 at each pixel
    assert losses["loss_foreground"].item() == pytest.approx(np.log(2))
    # half of what is missing to a Dice of 1
    assert losses["loss_dice"].item() == pytest.approx((1 - (2 * 0.5 + 1) / (1 + 1 + 1)) / 2)


def test_padding_does_not_count():
    targets = torch.from_numpy(center_targets(CroppedMasks.from_label_map(discs())))[None]
    valid = torch.ones(1, 64, 96)
    valid[:, 40:] = 0
    targets = targets * valid
    logits = torch.randn(1, 4, 64, 96)
    before = center_voting_losses(logits, targets, valid, 16)
    logits[:, :, 40:] = 77
    assert center_voting_losses(logits, targets, valid, 16) == before


def test_training_and_inference_of_images_of_several_sizes(model):
    labels = discs()
    maps = torch.from_numpy(center_targets(CroppedMasks.from_label_map(labels)))
    image = torch.from_numpy((labels > 0) * np.uint8(200))[None].repeat(3, 1, 1)
    inputs = [
        {"image": image, "center_targets": maps},
        {"image": image[:, :50, :40], "center_targets": maps[:, :50, :40]},
    ]
    losses = model(inputs)
    assert set(losses) == {"loss_foreground", "loss_dice", "loss_depth", "loss_offset"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.eval()
    with torch.no_grad():
        outputs = model([{"image": x["image"], "height": 100, "width": 90} for x in inputs])
    assert [out["instances"].image_size for out in outputs] == [(100, 90)] * 2


def test_a_subclass_may_have_another_loss(config_file):
    class Foreground(CenterVotingSegmentor):
        @classmethod
        def from_config(cls, cfg):
            return {**super().from_config(cfg), "loss": squares}

    def squares(logits, targets, valid, offset_scale):
        return {"loss_mine": (logits[:, 0] * valid).square().mean()}

    model = Foreground(load_config(config_file, NO_WEIGHTS))
    image, maps = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(5, 64, 64)
    assert set(model([{"image": image, "center_targets": maps}])) == {"loss_mine"}


@pytest.mark.parametrize("factor", [1, 2, 0.5])
def test_true_maps_give_the_nuclei_in_original_pixels(model, factor):
    labels = discs()
    maps = torch.from_numpy(center_targets(CroppedMasks.from_label_map(labels)))
    model.network = Oracle(perfect_logits(maps, model.offset_scale))
    model.eval()
    size = int(64 * factor), int(96 * factor)
    (output,) = model([{"image": torch.zeros(3, 64, 96), "height": size[0], "width": size[1]}])
    found = output["instances"]
    assert found.image_size == size and len(found) == 4
    assert found.scores.min() > 0.8 and found.scores.max() <= 1
    expected = np.bincount(labels.ravel())[1:] * factor**2
    np.testing.assert_allclose(np.sort(found.pred_masks.areas), np.sort(expected), rtol=0.15)


def test_specks_beside_a_nucleus_are_not_part_of_it(model):
    labels = discs()
    maps = torch.from_numpy(center_targets(CroppedMasks.from_label_map(labels)))
    maps[0, 8, 20] = 1  # foreground two pixels off the first disc, whose vote leads nowhere
    model.network = Oracle(perfect_logits(maps, model.offset_scale))
    model.eval()
    (output,) = model([{"image": torch.zeros(3, 64, 96), "height": 64, "width": 96}])
    masks = output["instances"].pred_masks.to_dense()
    assert len(masks) == 4 and not masks[:, 8, 20].any()
    assert [ndimage.label(mask)[1] for mask in masks] == [1] * 4


@pytest.mark.parametrize("size", [(127, 191), (64, 96), (63, 95), (50, 75)])
def test_maps_at_half_the_resolution_give_the_nuclei_where_they_are(model, size):
    labels = np.kron(discs(), np.ones((2, 2), np.int32))[:127, :191]  # odd sides
    maps = torch.from_numpy(center_targets(CroppedMasks.from_label_map(discs())))
    # the maps of half the resolution; offsets are in pixels of the image
    maps[2:4] *= 2
    model.network = Oracle(perfect_logits(maps, model.offset_scale), output_stride=2)
    model.eval()
    (output,) = model([{"image": torch.zeros(3, 127, 191), "height": size[0], "width": size[1]}])
    found = output["instances"]
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, labels.shape, strict=True)
    )
    expected = CroppedMasks.from_label_map(labels[rows[:, None], columns])
    assert found.image_size == size and len(found) == 4
    for mask in expected.to_dense():
        ious = [(mask & m).sum() / (mask | m).sum() for m in found.pred_masks.to_dense()]
        assert max(ious) > 0.9


def test_votes_are_blurred_less_in_maps_at_half_the_resolution(model):
    labels = np.zeros((64, 96), np.int32)
    labels[20:24, 20:24], labels[20:24, 24:28] = 1, 2
    maps = torch.from_numpy(center_targets(CroppedMasks.from_label_map(labels)))
    maps[2:4] *= 2
    model.network = Oracle(perfect_logits(maps, model.offset_scale), output_stride=2)
    model.eval()
    (output,) = model([{"image": torch.zeros(3, 128, 192), "height": 128, "width": 192}])
    assert output["instances"].pred_masks.areas.tolist() == [64, 64]


@pytest.mark.parametrize("views", ["mirror", "flips"])
def test_views_of_a_symmetric_network_agree(config_file, views):
    torch.manual_seed(0)
    cfg = load_config(config_file, [*NO_WEIGHTS, "MODEL.CENTER_VOTING.VIEWS", views])
    model = build_model(cfg).eval()

    class Gradient(torch.nn.Module):
        """Foreground is bright; offsets are the gradient, which turns with the image."""

        size_divisibility = output_stride = 1

        def forward(self, x):
            grey = torch.nn.functional.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
            dy = grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
            dx = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]
            return torch.cat([grey[..., 1:-1, 1:-1]] * 2 + [dy, dx], dim=1)

    model.network = Gradient()
    image = torch.randint(0, 255, (3, 32, 48), dtype=torch.uint8)
    model.views = ((),)
    one = model.maps([image])
    model.views = build_model(cfg).views
    assert len(model.views) > 1
    torch.testing.assert_close(model.maps([image]), one)


def test_mistakes_in_the_config(config_file):
    for key, value in (
        ("MODEL.SEGMENTATION.NUM_CHANNELS", "3"),
        ("MODEL.CENTER_VOTING.VIEWS", "many"),
        ("MODEL.CENTER_VOTING.OFFSET_SCALE", "0.0"),
        ("MODEL.CENTER_VOTING.THRESHOLD", "1.5"),
        ("MODEL.CENTER_VOTING.STEPS", "0"),
        ("MODEL.CENTER_VOTING.SIGMA", "0.0"),
        ("MODEL.CENTER_VOTING.DEPTH", "-0.1"),
        ("MODEL.CENTER_VOTING.MIN_VOTES", "-1"),
    ):
        with pytest.raises(InputError, match=key):
            build_model(load_config(config_file, [*NO_WEIGHTS, key, value]))
