"""Photometric augmentations of grey values and colors; masks do not change.

Every operation takes and returns uint8 RGB (H, W, 3). Its parameters are drawn when the transform
is made, so that a transform applied twice does the same both times.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from nucdet.data.augment.color import (
    draw_channel_changes,
    draw_colors,
    draw_hue_and_saturation,
    draw_stain,
    grey_values,
)
from nucdet.data.augment.registry import PHOTOMETRIC

ImageOperation = Callable[[np.ndarray], np.ndarray]

# Strengths of the augmentations for which INPUT.AUGMENTATION has only a probability
_STAIN = 0.1  # a stain's factor lies within 1 ± this, its constant within ± this (optical density)
_HUE = 20.0  # degrees to either side
_SATURATION = 0.3  # its factor lies within 1 ± this
_GAIN, _OFFSET = 0.2, 15.0  # of a channel: factor within 1 ± gain, ± offset in grey levels
_FADED = 0.2  # smallest share of the range 0–255 that remains
_LIGHT = 0.5  # a factor from 2^-x to 2^x, or a glow of up to x × 128 grey levels
_NOISE = 12.0  # largest standard deviation, grey levels
_KERNELS = (1, 3, 5, 7)  # sides of the random convolutions, pixels
_VISIBLE = 24  # a fade leaves at least this many grey levels between background and nuclei


def build_photometric(cfg: CfgNode) -> list[T.Augmentation | Transform]:
    """The training augmentations that change values, not masks: colors, light, camera."""
    aug = cfg.INPUT.AUGMENTATION
    jpeg = aug.JPEG
    candidates = [
        (aug.GREY_PROB, Photometric(lambda: _grey)),
        (aug.COLORIZE_PROB, Photometric(draw_colors)),
        (aug.STAIN.PROB, Photometric(partial(draw_stain, _STAIN))),
        (
            aug.HUE_SATURATION.PROB,
            Photometric(partial(draw_hue_and_saturation, _HUE, _SATURATION)),
        ),
        (aug.CHANNELS.PROB, Photometric(partial(draw_channel_changes, _GAIN, _OFFSET))),
        (aug.INVERT_PROB, Photometric(lambda: invert)),
        (aug.RANDOM_CONVOLUTION.PROB, Photometric(_draw_convolution)),
        (float(aug.BRIGHTNESS > 0), T.RandomBrightness(1 - aug.BRIGHTNESS, 1 + aug.BRIGHTNESS)),
        (float(aug.CONTRAST > 0), T.RandomContrast(1 - aug.CONTRAST, 1 + aug.CONTRAST)),
        (float(aug.GAMMA != 1), Photometric(partial(_draw_gamma, aug.GAMMA))),
        (aug.FADE.PROB, Photometric(partial(_draw_fade, _FADED))),
        (aug.ILLUMINATION.PROB, Photometric(partial(_draw_light, _LIGHT))),
        (aug.BLUR.PROB, Photometric(partial(_draw_blur, aug.BLUR.SIGMA))),
        (aug.NOISE.PROB, Photometric(partial(_draw_noise, _NOISE))),
        (jpeg.PROB, Photometric(partial(_draw_jpeg, jpeg.QUALITY, jpeg.CONTRAST, jpeg.ZOOM))),
    ]
    own = [T.RandomApply(a, p) if p < 1 else a for p, a in candidates if p > 0]
    return [*own, *(augmentation for build in PHOTOMETRIC for augmentation in build(cfg))]


class Photometric(T.Augmentation):
    """Draws an operation on uint8 images and applies it to the image only, not to the masks."""

    def __init__(self, draw: Callable[[], ImageOperation]):
        super().__init__()
        self.draw = draw

    def get_transform(self, image: np.ndarray) -> Transform:
        return T.ColorTransform(self.draw())

    def __repr__(self) -> str:
        return f"Photometric({self.draw})"


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.merge([grey_values(image)] * 3)


def invert(image: np.ndarray) -> np.ndarray:
    """255 - value."""
    return 255 - image


def _draw_convolution() -> ImageOperation:
    """Mix the image with its convolution by a random kernel (Xu et al., ICLR 2021).

    Colors, contrast and texture become others, at random also inverted, while shapes that are
    larger than the kernel stay (arXiv:2007.13003). The convolution gets the mean and deviation
    that each channel had.
    """
    side = int(np.random.choice(_KERNELS))
    kernels = np.random.standard_normal((3, 3, side, side)).astype(np.float32)
    own = np.random.rand()

    def convolve(image: np.ndarray) -> np.ndarray:
        image = image.astype(np.float32)
        channels = cv2.split(image)
        filtered = np.stack(
            [
                sum(cv2.filter2D(c, -1, k) for c, k in zip(channels, kernel, strict=True))
                for kernel in kernels
            ],
            axis=-1,
        )
        mean, deviation = cv2.meanStdDev(image)
        shown = (filtered - filtered.mean(axis=(0, 1))) / (filtered.std(axis=(0, 1)) + 1e-3)
        return as_uint8(own * image + (1 - own) * (mean.T + deviation.T * shown))

    return convolve


def _draw_gamma(strength: float) -> ImageOperation:
    return change_gamma(math.exp(np.random.uniform(-1, 1) * math.log(strength)))


def change_gamma(exponent: float) -> ImageOperation:
    """value ** exponent on 0–1."""
    table = (255 * (np.arange(256) / 255) ** exponent).round().astype(np.uint8)
    return lambda image: cv2.LUT(image, table)


def _draw_fade(smallest: float) -> ImageOperation:
    """Compress the range 0–255 into a part of it, at most 1 / smallest times narrower."""
    drawn = math.exp(np.random.uniform(math.log(smallest), 0))
    place = np.random.rand()

    def fade(image: np.ndarray) -> np.ndarray:
        low, high = np.percentile(image[::4, ::4], (0.5, 99.5))
        # a faint image keeps as many grey levels as are needed to see the nuclei
        contrast = max(drawn, min(1.0, _VISIBLE / max(high - low, 1.0)))
        table = place * 255 * (1 - contrast) + contrast * np.arange(256)
        return cv2.LUT(image, table.round().astype(np.uint8))

    return fade


def _draw_light(strength: float) -> ImageOperation:
    """Uneven light (a smooth factor) or an uneven background (a smooth glow or shade)."""
    coarse = np.random.uniform(-1, 1, (3, 3)).astype(np.float32)
    glows = np.random.rand() < 0.5

    def light(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        field = np.clip(field, -1, 1)  # cubic interpolation overshoots
        if glows:
            # a bright background would only saturate, so it gets darker instead
            sign = -1 if image[::8, ::8].mean() > 127 else 1
            change, apply = sign * 64 * strength * (field + 1), cv2.add
        else:
            change, apply = cv2.exp(math.log(2) * strength * field), cv2.multiply
        return apply(image, cv2.merge([change] * 3), dtype=cv2.CV_8U)

    return light


def _draw_blur(largest_sigma: float) -> ImageOperation:
    sigma = np.random.uniform(0.1, 1) * largest_sigma
    return lambda image: cv2.GaussianBlur(image, (0, 0), sigma)


def _draw_noise(largest_sigma: float) -> ImageOperation:
    sigma, seed = np.random.uniform(0, largest_sigma), np.random.randint(2**31)

    def add(image: np.ndarray) -> np.ndarray:
        noise = draw_noise(image, np.random.default_rng(seed))
        return as_uint8(image + np.float32(sigma) * noise)

    return add


def as_uint8(values: np.ndarray) -> np.ndarray:
    """Values rounded and clipped to grey levels 0–255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def draw_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standard normal noise, float32 (H, W, 3), or (H, W, 1) for a grey image, which stays grey."""
    grey = image.ndim == 3 and (image == image[..., :1]).all()
    shape = (*image.shape[:2], 1) if grey else image.shape
    return rng.standard_normal(shape, dtype=np.float32)


def _draw_jpeg(lowest_quality: int, least_contrast: float, largest_zoom: float) -> ImageOperation:
    """The artifacts of an image that was JPEG-compressed before it was stretched and enlarged."""
    compress = compress_jpeg(np.random.randint(lowest_quality, 96))
    contrast = math.exp(np.random.uniform(math.log(least_contrast), 0))
    zoom = math.exp(np.random.uniform(0, math.log(largest_zoom)))

    def change(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        size = (math.ceil(width / zoom), math.ceil(height / zoom))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        dim = cv2.convertScaleAbs(small, alpha=contrast)
        # only the error is enlarged, so that the image loses no detail by being reduced
        error = compress(dim).astype(np.float32) / contrast - small
        error = cv2.resize(error, (width, height), interpolation=cv2.INTER_LINEAR)
        return as_uint8(image + error)

    return change


def compress_jpeg(quality: int) -> ImageOperation:
    """Write as JPEG of this quality, 1 to 95, and read again."""

    def compress(image: np.ndarray) -> np.ndarray:
        # channels in OpenCV's order, since the codec keeps more detail of green than of the others
        _, data = cv2.imencode(
            ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])

    return compress
