"""An image with its nuclei, between augmentations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class Sample:
    """An image and its N nuclei.

    Attributes:
        image: uint8 RGB (H, W, 3).
        masks: N masks of the image.
        classes: (N,) int64.
    """

    image: np.ndarray
    masks: CroppedMasks
    classes: np.ndarray
