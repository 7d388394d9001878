"""SemanticInstanceSegmentor around networks small enough to know their answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.utils.visualizer import Visualizer
from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.semantic.segmentor import SemanticInstanceSegmentor
from nucdet.postprocessing.separation import Separation
from nucdet.structures import CroppedMasks


class Brightness(nn.Module):
    """Logits grow with the first channel: a pixel above ``middle`` is nucleus."""

    size_divisibility, output_stride = 16, 1

    def __init__(self, channels: int = 1, middle: float = 100.0):
        super().__init__()
        self.channels, self.middle = channels, middle
        self.gain = nn.Parameter(torch.tensor(0.2))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert all(length % self.size_divisibility == 0 for length in x.shape[-2:])
        logits = self.gain * (x[:, :1] - self.middle)
        if self.channels == 1:
            return logits
        # body above 200, border between
        return torch.cat([-logits, self.gain * (x[:, :1] - 200), torch.zeros_like(logits)], dim=1)


class Coarse(Brightness):
    """Looks around, answers at a quarter of the size, and sees left otherwise than right."""

    output_stride = 4

    def forward(self, x):
        logits = super().forward(x)
        kernel = torch.arange(9.0).view(1, 1, 3, 3) / 36
        return F.avg_pool2d(F.conv2d(F.pad(logits, [1] * 4), kernel), 4)


def mean_loss(logits, labels, weights):
    """Names what it was given."""
    assert logits.dtype == torch.float32 and logits.shape[0] == labels.shape[0]
    assert logits.shape[-2:] == labels.shape[-2:]
    weights = 1 if weights is None else weights
    return {"loss_bce": (weights * (logits[:, 0].sigmoid() - (labels > 0).float()) ** 2).mean()}


def segmentor(network: nn.Module | None, **options) -> SemanticInstanceSegmentor:
    separation = Separation(method="components", min_size=0, **options.pop("separation", {}))
    model = SemanticInstanceSegmentor(
        network=network,
        loss=mean_loss,
        separation=separation,
        pixel_mean=options.pop("pixel_mean", [0.0] * 3),
        pixel_std=[1.0] * 3,
        **options,
    )
    return model.eval()


def image_of(values: np.ndarray) -> dict:
    values = torch.as_tensor(values, dtype=torch.uint8)
    return {"image": values.expand(3, *values.shape).clone()}


def predict(model: nn.Module, *inputs: dict) -> list[dict]:
    with torch.no_grad():
        return model(list(inputs))


def squares(size: tuple[int, int]) -> np.ndarray:
    """Bright squares of 4 × 4 on dark ground, as far as they fit."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.where((y % 9 < 4) & (x % 9 < 4), 220, 20)


@pytest.mark.parametrize("size", [(253, 519), (8, 8), (1, 5000), (1, 1), (300, 16)])
def test_images_of_any_size(size):
    (output,) = predict(segmentor(Brightness()), image_of(squares(size)))
    instances = output["instances"]
    assert output["sem_seg"].shape == (1, *size) and output["sem_seg"].dtype == torch.float32
    assert instances.image_size == instances.pred_masks.image_size == size
    expected = CroppedMasks.from_dense((squares(size) > 100)[None])
    assert np.array_equal(instances.pred_masks.to_label_map() > 0, next(iter(expected)))
    assert len(instances) == -(-size[0] // 9) * -(-size[1] // 9)
    assert instances.pred_boxes.tensor.shape == (len(instances), 4)
    assert instances.pred_classes.tolist() == [0] * len(instances)
    assert (instances.scores > 0.99).all()


def test_nothing_everything_and_single_pixels():
    model = segmentor(Brightness())
    dots = np.zeros((20, 30))
    dots[4, 7] = dots[19, 29] = 255
    nothing, everything, single = predict(
        model, *(image_of(p) for p in (np.zeros((20, 30)), np.full((20, 30), 255), dots))
    )
    assert len(nothing["instances"]) == 0
    assert nothing["instances"].pred_boxes.tensor.shape == (0, 4)
    assert everything["instances"].pred_masks.areas.tolist() == [600]
    assert single["instances"].pred_masks.areas.tolist() == [1, 1]
    assert single["instances"].pred_boxes.tensor.tolist() == [[7, 4, 8, 5], [29, 19, 30, 20]]


def test_a_image_is_predicted_alone_as_in_a_batch():
    random = np.random.default_rng(0)
    inputs = [image_of(random.integers(0, 256, s)) for s in [(30, 40), (17, 5), (30, 40)]]
    model = segmentor(Coarse())
    for x, together in zip(inputs, predict(model, *inputs), strict=True):
        (alone,) = predict(model, x)
        torch.testing.assert_close(alone["sem_seg"], together["sem_seg"])
        one, other = (o["instances"].pred_masks.to_label_map() for o in (alone, together))
        assert np.array_equal(one, other)
    assert model.network.seen[0] == (2, 3, 32, 48)


def test_results_are_in_the_pixels_of_the_file():
    x = image_of(np.repeat(np.repeat(squares((40, 60)), 2, 0), 2, 1))
    (output,) = predict(segmentor(Brightness()), x | {"height": 40, "width": 60})
    assert output["sem_seg"].shape == (1, 40, 60)
    expected = predict(segmentor(Brightness()), image_of(squares((40, 60))))[0]["instances"]
    masks = output["instances"].pred_masks
    assert np.array_equal(masks.to_label_map(), expected.pred_masks.to_label_map())


def test_resize_shows_squares_and_gives_the_original_size():
    model = segmentor(Brightness(), resize=64)
    (output,) = predict(model, image_of(np.full((100, 30), 255)))
    assert model.network.seen == [(1, 3, 64, 64)]
    assert output["sem_seg"].shape == (1, 100, 30)
    assert output["instances"].pred_masks.areas.tolist() == [3000]


@pytest.mark.parametrize(("tta", "looks"), [("none", 1), ("flips", 4), ("flips_turns", 8)])
def test_augmented_prediction_turns_with_the_image(tta, looks):
    model = segmentor(Coarse(), tta=tta)
    values = np.random.default_rng(1).integers(0, 256, (48, 32))
    (output,) = predict(model, image_of(values))
    assert len(model.network.seen) == looks
    assert output["sem_seg"].shape == (1, 48, 32)
    for turns, flip in ((0, True), (1, False)):
        turned = np.rot90(values[:, ::-1] if flip else values, turns)
        (again,) = predict(model, image_of(turned.copy()))
        seen = again["sem_seg"].rot90(-turns, (1, 2))
        seen = seen.flip(2) if flip else seen
        same = torch.allclose(seen, output["sem_seg"], atol=1e-5)
        assert same == (tta == "flips_turns" or (tta == "flips" and turns == 0))


def test_bright_images_are_inverted():
    values = np.where(squares((60, 40)) > 100, 20, 220)
    inverting = segmentor(Brightness(), invert_bright=True)
    (output,) = predict(inverting, image_of(values))
    expected = predict(segmentor(Brightness()), image_of(255 - values))[0]
    assert len(output["instances"]) == len(expected["instances"]) > 20
    torch.testing.assert_close(output["sem_seg"], expected["sem_seg"])
    (dark,) = predict(inverting, image_of(255 - values))
    torch.testing.assert_close(dark["sem_seg"], expected["sem_seg"])


def test_three_classes_give_foreground_and_border_to_the_separation():
    model = segmentor(Brightness(channels=3))
    given = []
    separate = model.separation
    model.separation = lambda *maps: (given.append(maps), separate(*maps))[1]
    values = np.array([[0, 150, 255]] * 4)
    (output,) = predict(model, image_of(values))
    foreground, border = given[0]
    assert output["sem_seg"].argmax(dim=0).tolist() == [[0, 2, 1]] * 4
    np.testing.assert_allclose(foreground, 1 - output["sem_seg"][0])
    np.testing.assert_allclose(border, output["sem_seg"][2])
    assert output["instances"].pred_masks.areas.tolist() == [8]
    mean = output["sem_seg"][1:].sum(dim=0)[:, 1:].mean()
    assert output["instances"].scores.tolist() == pytest.approx([mean.item()])


def test_without_a_network_the_grey_image_decides():
    model = segmentor(None, separation={"threshold": "otsu"})
    values = np.kron(squares((18, 27)), np.ones((6, 6)))
    (output,) = predict(model, image_of(values))
    assert len(output["instances"]) == 6


def test_losses_of_images_of_different_sizes():
    network = Brightness()
    model = segmentor(network).train()
    inputs = []
    for size in ((30, 16), (16, 40)):
        values = squares(size)
        labels = torch.as_tensor(values > 100, dtype=torch.int64)
        inputs.append(image_of(values) | {"sem_seg": labels})
    losses = model(inputs)
    assert network.seen == [(2, 3, 32, 48)]
    # mirrored, the ground truth goes on where the image does: all pixels are right
    assert float(losses["loss_bce"].detach()) < 1e-6
    with torch.autocast("cpu", torch.bfloat16):
        sum(model(inputs).values()).backward()
    assert network.gain.grad is not None
    for x in inputs:
        x["sem_seg_weights"] = torch.full(x["sem_seg"].shape, 0.0)
    assert float(model(inputs)["loss_bce"].detach()) == 0


def test_detectron2_draws_the_result():
    values = squares((40, 60))
    (output,) = predict(segmentor(Brightness()), image_of(values))
    image = np.repeat(values[..., None], 3, axis=2).astype(np.uint8)
    drawn = Visualizer(image).draw_instance_predictions(output["instances"]).get_image()
    assert (drawn != image).any()


@pytest.mark.parametrize("options", [{"tta": "all"}, {"resize": -1}])
def test_mistakes_name_the_key(options):
    with pytest.raises(InputError, match=rf"MODEL\.SEMANTIC\.{next(iter(options)).upper()}"):
        segmentor(Brightness(), **options)
