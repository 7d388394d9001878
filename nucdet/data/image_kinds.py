"""Determines the kind of microscopy of an image from its pixels.

Splits are stratified by kind, and :mod:`nucdet.data.statistics` counts kinds. The thresholds lie in
wide gaps of the DSB2018 training set (664 images): median brightness is at most 44 in fluorescence
and at least 131 elsewhere; mean saturation is 0 in grey images and at least 12 in stained ones.
"""

from __future__ import annotations

import numpy as np

FLUORESCENCE = "fluorescence"
BRIGHT_FIELD = "bright_field"
STAINED_LIGHT = "stained_light"
STAINED_TINTED = "stained_tinted"
IMAGE_KINDS = (FLUORESCENCE, BRIGHT_FIELD, STAINED_LIGHT, STAINED_TINTED)

_DARK_BELOW = 80  # median brightness
_COLOR_FROM = 5  # mean saturation
_TINTED_FROM = 25  # median saturation of the background


def image_kind(image: np.ndarray) -> str:
    """Name the kind of image.

    Args:
        image: uint8 (H, W, 3) RGB.

    Returns:
        ``"fluorescence"``: bright on a dark background, grey or in one color;
        ``"bright_field"``: grey on a bright background (also phase contrast);
        ``"stained_light"``: colored on a white or grey background (H&E);
        ``"stained_tinted"``: colored on a colored background (purple on lilac).
        Saturation here means max - min over the channels, brightness their mean; the background is
        the brightest quarter of the pixels.
    """
    # every third pixel along both axes gives the same statistics in a ninth of the time
    pixels = image[::3, ::3].reshape(-1, 3).astype(np.int16)
    brightness = pixels.sum(axis=1) / 3
    if np.median(brightness) < _DARK_BELOW:
        return FLUORESCENCE
    saturation = pixels.max(axis=1) - pixels.min(axis=1)
    if saturation.mean() < _COLOR_FROM:
        return BRIGHT_FIELD
    background = saturation[brightness >= np.percentile(brightness, 75)]
    return STAINED_LIGHT if np.median(background) < _TINTED_FROM else STAINED_TINTED
