"""Color augmentations: stains, camera channels, and grey images dyed in two colors.

Each ``draw_…`` draws its parameters and returns an operation on uint8 RGB (H, W, 3).
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import cv2
import numpy as np

_Operation = Callable[[np.ndarray], np.ndarray]

# Absorption of hematoxylin, eosin and DAB in red, green and blue (rows), each of length about 1
# (Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23, 2001)
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(_STAINS)
# grey level -> optical density, 0 for white
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


def grey_values(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W), the mean of the channels (not luma, since nuclei may be in any channel)."""
    return cv2.transform(image, np.full((1, 3), 1 / 3))


def draw_stain(strength: float) -> _Operation:
    """Change the amount of each stain (Tellez et al., IEEE Trans. Med. Imaging 37, 2018).

    The amounts of hematoxylin, eosin and DAB at each pixel change by a factor from
    [1 - strength, 1 + strength] and by a constant from [-strength, strength].
    """
    factors = np.random.uniform(1 - strength, 1 + strength, 3)
    constants = np.random.uniform(-strength, strength, 3)
    # unmix, change and mix again: one affine map of optical densities
    linear = (_UNMIX @ np.diag(factors) @ _STAINS).T
    matrix = np.column_stack([linear, constants @ _STAINS])

    def stain(image: np.ndarray) -> np.ndarray:
        density = cv2.transform(cv2.LUT(image, _DENSITY), matrix)
        light = cv2.exp(-density)
        return cv2.convertScaleAbs(np.maximum(light * 256 - 1, 0))

    return stain


def draw_hue_and_saturation(degrees: float, strength: float) -> _Operation:
    """Turn the hue by up to ``degrees``; saturation × u, u from [1 - strength, 1 + strength]."""
    turn = round(np.random.uniform(-degrees, degrees) / 360 * 256) % 256
    factor = np.random.uniform(1 - strength, 1 + strength)
    steps = np.arange(256)
    table = np.stack([(steps + turn) % 256, np.clip(steps * factor, 0, 255).round(), steps], 1)
    table = table.astype(np.uint8)[:, None]

    def change(image: np.ndarray) -> np.ndarray:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB_FULL)

    return change


def draw_channel_changes(gain: float, offset: float) -> _Operation:
    """Each channel × u + v, u from [1 - gain, 1 + gain], v from [-offset, offset] grey levels."""
    gains = np.random.uniform(1 - gain, 1 + gain, 3)
    offsets = np.random.uniform(-offset, offset, 3)
    table = np.clip(np.arange(256)[:, None] * gains + offsets, 0, 255).round().astype(np.uint8)
    return lambda image: cv2.LUT(image, table[:, None])


def draw_colors() -> _Operation:
    """Map the image's grey values to a ramp from a random background color to a nucleus color.

    The grey values are stretched first. At random, the background becomes light and the nuclei
    dark, or the other way round, regardless of the image: fluorescence then resembles a stain on
    white or another dye, and a stain resembles fluorescence.
    """
    background, nuclei = _light_background() if np.random.rand() < 0.5 else _dark_background()
    exponent = math.exp(np.random.uniform(-0.7, 0.7))

    def dye(image: np.ndarray) -> np.ndarray:
        grey = grey_values(image)
        low, middle, high = np.percentile(grey[::4, ::4], (0.5, 50, 99.8))
        # images that show only background stay faint
        ramp = np.clip((np.arange(256) - low) / max(high - low, 16), 0, 1)
        if middle > (low + high) / 2:  # the background is bright: start the ramp there
            ramp = 1 - ramp
        ramp = ramp[:, None] ** exponent
        table = 255 * (background + ramp * (nuclei - background))
        return cv2.LUT(cv2.merge([grey] * 3), table.round().astype(np.uint8)[:, None])

    return dye


def _light_background() -> tuple[np.ndarray, np.ndarray]:
    return _color((0, 0.35), (0.65, 1)), _color((0, 0.9), (0.1, 0.55))


def _dark_background() -> tuple[np.ndarray, np.ndarray]:
    return _color((0, 1), (0, 0.25)), _color((0, 1), (0.5, 1))


def _color(saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    hsv = np.random.rand(), np.random.uniform(*saturation), np.random.uniform(*value)
    return np.array(colorsys.hsv_to_rgb(*hsv))
