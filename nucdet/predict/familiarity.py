"""Whether an image is of the kind that the model was trained on."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from nucdet.data.io.windows import ImageWindows
from nucdet.modeling.familiarity import Familiarity, Seen

UNFAMILIAR = "unlike the images that this model knows: check by eye"

_LOOK_SIDE = 1024  # pixels of an image's middle that may show that it is blank
_BLOCK = 16  # pixels
# Over how many blocks the strength of noise may change, as the light does.
_GROUND = 4.0
# By how much the standard deviations in neighbouring blocks scatter, relative to their mean: at
# most 0.12 in drawn camera noise, blurred or with uneven light; at least 0.18 in all else that was
# tried (photographs, LIVECell's phase contrast, DSB2018).
_NOISE_SCATTER = 0.15


def familiarity(
    known: Familiarity | None, seen: list[Seen], scores: Tensor, source: ImageWindows
) -> float | None:
    """How familiar an image is to the model that looked at it.

    Args:
        known: what the model remembers of its training images.
        seen: of the image's tiles.
        scores: (N,) of the nuclei found.
        source: the image.

    Returns:
        Below 1 for images that deserve the warning :data:`UNFAMILIAR`, above 1 for nearly all of
        the training's kinds. None: the model remembers nothing, or nothing was found in an image
        that holds nothing but noise, as an empty well is no mistake.
    """
    if known is None or not seen:
        return None
    if not len(scores) and is_blank(_middle(source)):
        return None
    return 1 / max(known.strangeness(seen, scores), 1e-6)


def warning(how: float | None) -> str:
    """:data:`UNFAMILIAR` or an empty text, from what :func:`familiarity` gave."""
    return UNFAMILIAR if how is not None and how < 1 else ""


def is_blank(image: np.ndarray) -> bool:
    """Whether an image holds nothing but noise on an even or slowly changing ground.

    Args:
        image: uint8 (H, W, 3).
    """
    height, width = (length // _BLOCK * _BLOCK for length in image.shape[:2])
    if not height or not width:
        return bool(image.max() == image.min())
    grey = image[:height, :width].astype(np.float32).mean(axis=2)
    blocks = grey.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    noise = blocks.std(axis=(1, 3))
    usual = cv2.GaussianBlur(noise, (0, 0), _GROUND, borderType=cv2.BORDER_REFLECT)
    return bool((noise / np.maximum(usual, 1e-3)).std() < _NOISE_SCATTER)


def _middle(source: ImageWindows) -> np.ndarray:
    starts = [max(0, (length - _LOOK_SIDE) // 2) for length in source.size]
    rows, columns = (
        slice(start, min(start + _LOOK_SIDE, length))
        for start, length in zip(starts, source.size, strict=True)
    )
    return source.read((rows, columns))
