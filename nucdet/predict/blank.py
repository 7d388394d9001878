"""Whether there is anything to see in an image."""

from __future__ import annotations

import cv2
import numpy as np

from nucdet.data.io.windows import ImageWindows

_CENTER_SIDE = 1024  # side of the central part that is examined, pixels
_BLOCK = 16  # pixels
# Standard deviation, in blocks, of the Gaussian filter that gives the local level of the noise,
# which may vary over the image as the light does.
_SMOOTHING = 4.0
# Limit for the scatter of the blocks' standard deviations relative to their local mean. It was at
# most 0.12 in simulated camera noise, blurred or with uneven light, and at least 0.18 in everything
# else that was tried (photographs, LIVECell's phase contrast, DSB2018).
_NOISE_SCATTER = 0.15


def is_blank(source: ImageWindows) -> bool:
    """Whether an image holds nothing but noise on an even or slowly changing background.

    Args:
        source: the image; only its central part is read.
    """
    grey = source.read(_middle(source.size)).astype(np.float32).mean(axis=2)
    height, width = (length // _BLOCK * _BLOCK for length in grey.shape)
    blocks = grey[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    noise = blocks.std(axis=(1, 3))
    if not noise.any():
        # each block has one value, or the image is smaller than a block
        return bool(grey.max() == grey.min())
    local = cv2.GaussianBlur(noise, (0, 0), _SMOOTHING, borderType=cv2.BORDER_REFLECT)
    return bool((noise / np.maximum(local, 1e-3)).std() < _NOISE_SCATTER)


def _middle(size: tuple[int, int]) -> tuple[slice, slice]:
    starts = [max(0, (length - _CENTER_SIDE) // 2) for length in size]
    rows, columns = (
        slice(start, min(start + _CENTER_SIDE, length))
        for start, length in zip(starts, size, strict=True)
    )
    return rows, columns
