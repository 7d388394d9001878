from __future__ import annotations

import cv2
import numpy as np
import pytest

from nucdet.data.augment.sample import Sample
from nucdet.structures import CroppedMasks


@pytest.fixture
def disc_sample():
    """Draws discs (y, x, radius) that differ from the background by ``light`` grey levels."""

    def draw(*discs, background=50, light=150, size=(96, 96), label=0) -> Sample:
        labels = np.zeros(size, np.int32)
        for index, (y, x, radius) in enumerate(discs, 1):
            cv2.circle(labels, (x, y), radius, index, -1)
        image = np.repeat((background + light * (labels > 0))[..., None], 3, axis=2)
        masks = CroppedMasks.from_label_map(labels)
        return Sample(image.astype(np.uint8), masks, np.full(len(masks), label, np.int64))

    return draw
