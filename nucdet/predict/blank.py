"""Whether there is anything to see in an image."""

from __future__ import annotations

import cv2
import numpy as np

from nucdet.data.io.windows import ImageWindows

_LOOK_SIDE = 1024  # pixels of an image's middle that are looked at
_BLOCK = 16  # pixels
# Over how many blocks the strength of noise may change, as the light does.
_BACKGROUND = 4.0
# By how much the standard deviations in neighboring blocks scatter, relative to their mean: at
# most 0.12 in drawn camera noise, blurred or with uneven light; at least 0.18 in all else that was
# tried (photographs, LIVECell's phase contrast, DSB2018).
_NOISE_SCATTER = 0.15


def is_blank(source: ImageWindows) -> bool:
    """Whether an image holds nothing but noise on an even or slowly changing background.

    Args:
        source: the image; its middle is read.
    """
    grey = source.read(_middle(source.size)).astype(np.float32).mean(axis=2)
    height, width = (length // _BLOCK * _BLOCK for length in grey.shape)
    if not height or not width:
        return _is_even(grey)
    blocks = grey[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    noise = blocks.std(axis=(1, 3))
    if not noise.any():
        return _is_even(grey)  # or drawn on the grid of the blocks
    usual = cv2.GaussianBlur(noise, (0, 0), _BACKGROUND, borderType=cv2.BORDER_REFLECT)
    return bool((noise / np.maximum(usual, 1e-3)).std() < _NOISE_SCATTER)


def _is_even(grey: np.ndarray) -> bool:
    return bool(grey.max() == grey.min())


def _middle(size: tuple[int, int]) -> tuple[slice, slice]:
    starts = [max(0, (length - _LOOK_SIDE) // 2) for length in size]
    rows, columns = (
        slice(start, min(start + _LOOK_SIDE, length))
        for start, length in zip(starts, size, strict=True)
    )
    return rows, columns
