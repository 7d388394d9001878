"""What a prediction gives: Detectron2's Instances that can show themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from detectron2.structures import Instances

from nucdet.data.io.windows import ImageWindows
from nucdet.predict.measure import measure


class Prediction(Instances):
    """The nuclei of one image, surest first.

    Fields, in pixels of the image: ``pred_masks`` (:class:`nucdet.structures.CroppedMasks`,
    disjoint unless overlap elimination is off), ``pred_boxes``, ``scores``, ``pred_classes``.
    """

    def __init__(self, instances: Instances, source: ImageWindows, diameter: float | None = None):
        """
        Args:
            instances: the nuclei.
            source: the image.
            diameter: see :attr:`diameter`.
        """
        super().__init__(instances.image_size, **instances.get_fields())
        self._source = source
        self._diameter = diameter

    @property
    def source(self) -> ImageWindows:
        """The image."""
        return self._source

    @property
    def diameter(self) -> float | None:
        """The diameter of nuclei in pixels that the image was rescaled for; None: it was not."""
        return self._diameter

    def __getitem__(self, item: Any) -> Prediction:
        return Prediction(super().__getitem__(item), self._source, self._diameter)

    def to(self, *args: Any, **kwargs: Any) -> Prediction:
        return Prediction(super().to(*args, **kwargs), self._source, self._diameter)

    def label_map(self) -> np.ndarray:
        """(H, W) int32: 0 is background, i + 1 the i-th nucleus."""
        return self.pred_masks.to_label_map()

    def table(self, pixel_size: float | None = None) -> pd.DataFrame:
        """Measurements, one row a nucleus; see :func:`nucdet.predict.measure.measure`.

        Args:
            pixel_size: µm; without it, everything is in pixels.
        """
        return measure(self.pred_masks, self.scores.numpy(), self._source, pixel_size)
