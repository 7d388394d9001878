"""Perturbations of evaluation images, to measure how much they lower a model's score.

Each has a name with numbers, such as ``blur:2`` or ``seed:0.05,0.1`` (TEST.PERTURBATION). It is
applied to the image in the file, before evaluation's resize, and returns uint8. INPUT.NORMALIZE
follows, so that the model sees the same as if the image had been taken like this. Random ones are
seeded by the image's id: every run and every model gets the same noise, but each image another.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from nucdet.data.augment.geometry import Resize
from nucdet.data.augment.photometry import (
    as_uint8,
    change_gamma,
    compress_jpeg,
    draw_noise,
    invert,
)
from nucdet.data.io.normalization import normalized
from nucdet.errors import InputError

# (uint8 RGB (H, W, 3), random numbers) -> uint8 RGB (H, W, 3)
ImageChange = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Perturbation(T.Augmentation):
    """A change of grey values whose randomness depends only on the image's id."""

    def __init__(self, change: ImageChange):
        super().__init__()
        self.change = change

    def get_transform(self, image: np.ndarray, image_id: int | str) -> Transform:
        seed = zlib.crc32(str(image_id).encode())
        return T.ColorTransform(lambda pixels: self.change(pixels, np.random.default_rng(seed)))


def build_perturbation(cfg: CfgNode) -> tuple[str, list[T.Augmentation | Transform]]:
    """The normalization rule for reading an image for evaluation, and the changes that follow.

    With TEST.PERTURBATION the file is read with the rule "none" (8 bits unchanged), then the
    perturbation is applied and then INPUT.NORMALIZE. In the opposite order a blurred image would be
    darker, and its bright nuclei wider, than in prediction from a blurred file.

    Raises:
        InputError: see :func:`parse_perturbation`.
    """
    rule = cfg.INPUT.NORMALIZE
    if not cfg.TEST.PERTURBATION:
        return rule, []
    normalize = T.ColorTransform(partial(normalized, rule=rule))
    return "none", [parse_perturbation(cfg.TEST.PERTURBATION), normalize]


def parse_perturbation(text: str) -> T.Augmentation:
    """The perturbation of this name.

    - ``noise:SHARE``: Gaussian, standard deviation a share of the image's largest value;
    - ``blur:SIGMA``: Gaussian, in pixels;
    - ``gamma:EXPONENT``: value ** exponent on 0–1;
    - ``invert``: 255 - value;
    - ``jpeg:QUALITY``: compressed as JPEG, quality 1–95;
    - ``scale:FACTOR``: the image resized; predictions are still in pixels of the original;
    - ``seed:MEAN,POWER``: see :func:`seed_noise`.

    Raises:
        InputError: an unknown name, or numbers out of range.
    """
    name, _, numbers = text.partition(":")
    kind = _KINDS.get(name)
    try:
        values = [float(number) for number in numbers.split(",")] if numbers else []
    except ValueError:
        values = None
    if kind is None or values is None or not kind.accepts(values):
        known = ", ".join(kind.describe(name) for name, kind in _KINDS.items())
        raise InputError(f"perturbation {text!r}: expected one of {known}")
    return kind.build(*values)


def seed_noise(
    image: np.ndarray, rng: np.random.Generator, mean: float, power: float
) -> np.ndarray:
    """Additive Gaussian noise, as the report of CropRCNN (000) perturbs its input.

    "This perturbation tensor has an arbitrary mean of 5% of input tensor's maximum value and power
    (variance) 10% that of input tensor": normal noise of mean ``mean`` · max(image) and variance
    ``power`` · var(image). The report equates power with variance; the mean square, its usual
    meaning, would drown images with a bright background (on dsb2018_val a standard deviation of
    54–67 grey levels instead of 11–12; fluorescence: 6 instead of 4). The result is rounded and
    clipped to 0–255, which the report does not mention.

    Args:
        image: uint8 RGB (H, W, 3); a grey image (equal channels) stays grey.
        rng: source of the noise.
        mean, power: shares, e.g. 0.05 and 0.1.
    """
    shift, sigma = mean * float(image.max()), float(np.sqrt(power * image.var()))
    return as_uint8(image + (shift + sigma * draw_noise(image, rng)))


def _noise(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    return as_uint8(image + share * float(image.max()) * draw_noise(image, rng))


def _fixed(operation: Callable[[np.ndarray], np.ndarray]) -> T.Augmentation:
    return Perturbation(lambda image, rng: operation(image))


@dataclass(frozen=True)
class _Kind:
    """How to build a perturbation from ``numbers``: {name: (smallest, largest)}."""

    build: Callable[..., T.Augmentation]
    numbers: dict[str, tuple[float, float]]

    def accepts(self, values: Sequence[float]) -> bool:
        return len(values) == len(self.numbers) and all(
            low <= value <= high
            for value, (low, high) in zip(values, self.numbers.values(), strict=True)
        )

    def describe(self, name: str) -> str:
        if not self.numbers:
            return name
        limits = " and ".join(f"{low:g} to {high:g}" for low, high in self.numbers.values())
        return f"{name}:{','.join(self.numbers)} ({limits})"


_KINDS = {
    "noise": _Kind(lambda share: Perturbation(partial(_noise, share=share)), {"SHARE": (0, 1)}),
    "blur": _Kind(
        lambda sigma: _fixed(lambda image: cv2.GaussianBlur(image, (0, 0), sigma)),
        {"SIGMA": (0.1, 100)},
    ),
    "gamma": _Kind(lambda exponent: _fixed(change_gamma(exponent)), {"EXPONENT": (0.1, 10)}),
    "invert": _Kind(lambda: _fixed(invert), {}),
    "jpeg": _Kind(lambda quality: _fixed(compress_jpeg(round(quality))), {"QUALITY": (1, 95)}),
    "scale": _Kind(lambda factor: Resize(lambda height, width: factor), {"FACTOR": (0.1, 8)}),
    "seed": _Kind(
        lambda mean, power: Perturbation(partial(seed_noise, mean=mean, power=power)),
        {"MEAN": (0, 1), "POWER": (0, 1)},
    ),
}
