"""Foreground without a network, from the grey levels of the image."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.filters import threshold_otsu

# of the blur, in pixels: removes camera noise and keeps the smallest nuclei separate
_SIGMA = 1.0


def grey_foreground(image: np.ndarray) -> np.ndarray:
    """How much each pixel differs from the background: a baseline that needs no training.

    Grey is the mean of the channels, blurred and stretched to 0–1. Most of the image is assumed to
    be background, so if more pixels are above Otsu's threshold than below, the nuclei are dark and
    the map is inverted. :class:`nucdet.postprocessing.separation.Separation` with ``"otsu"`` turns
    the map into instances.

    Args:
        image: (H, W) or (H, W, C), values of any range.

    Returns:
        (H, W) float32, 0–1; all 0 for an image of one color.
    """
    image = np.asarray(image, np.float32)
    grey = image if image.ndim == 2 else image.mean(axis=2)
    grey = cv2.GaussianBlur(grey, (0, 0), _SIGMA)
    low, high = float(grey.min()), float(grey.max())
    if low == high:
        return np.zeros_like(grey)
    grey = (grey - low) / (high - low)
    bright_background = np.count_nonzero(grey > threshold_otsu(grey)) * 2 > grey.size
    return 1 - grey if bright_background else grey
