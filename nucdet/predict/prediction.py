"""The result of a prediction: Detectron2's Instances with a label map and a table."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.structures import Instances

from nucdet.data.io.choice import Place
from nucdet.data.io.windows import ImageWindows
from nucdet.predict.familiarity import warning
from nucdet.predict.measurements import Channels, measure
from nucdet.structures import CroppedMasks

if TYPE_CHECKING:
    import pandas as pd


class Prediction(Instances):
    """The nuclei of one image, highest score first.

    Fields, in pixels of the image: ``pred_masks`` (:class:`nucdet.structures.CroppedMasks`,
    disjoint unless overlap elimination is off), ``pred_boxes``, ``scores``, ``pred_classes``.
    """

    def __init__(
        self,
        instances: Instances,
        source: ImageWindows,
        diameter: float | None = None,
        class_names: Sequence[str] = ("nucleus",),
        familiarity: float | None = None,
        found: CroppedMasks | None = None,
    ):
        """
        Args:
            instances: the nuclei.
            source: the image.
            diameter: see :attr:`diameter`.
            class_names: see :attr:`class_names`.
            familiarity: see :attr:`familiarity`.
            found: the masks of all nuclei found in the image, if ``instances`` is a subset.
        """
        super().__init__(instances.image_size, **instances.get_fields())
        self._source = source
        self._diameter = diameter
        self._class_names = tuple(class_names)
        self._familiarity = familiarity
        self._found = instances.pred_masks if found is None else found

    @property
    def source(self) -> ImageWindows:
        """The image."""
        return self._source

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class index in ``pred_classes``."""
        return self._class_names

    @property
    def place(self) -> Place:
        """The position of the image in its file: ``place.time`` and ``place.z``."""
        return self._source.place

    @property
    def diameter(self) -> float | None:
        """The nuclei's diameter in image pixels that the zoom is based on; None: the usual zoom."""
        return self._diameter

    @property
    def familiarity(self) -> float | None:
        """How similar the image is to those that the model was trained on; see :attr:`warning`.

        It is below 1 for few images of the kinds in training. None: the model has no statistics of
        its training images, or the image is blank.
        """
        return self._familiarity

    @property
    def warning(self) -> str:
        """A warning about the reliability of these nuclei; an empty string for most images."""
        return warning(self._familiarity)

    def __getitem__(self, item: Any) -> Prediction:
        return self._with(super().__getitem__(item))

    def to(self, *args: Any, **kwargs: Any) -> Prediction:
        return self._with(super().to(*args, **kwargs))

    def _with(self, instances: Instances) -> Prediction:
        return Prediction(
            instances,
            self._source,
            self._diameter,
            self._class_names,
            self._familiarity,
            self._found,
        )

    def without_border(self) -> Prediction:
        """The nuclei that do not touch the border of the image; the others may be cut by it."""
        return self[torch.from_numpy(~self.pred_masks.touches_border())]

    def label_map(self) -> np.ndarray:
        """The label map, (H, W) int32: 0 is background, i + 1 is the nucleus with index i."""
        return self.pred_masks.to_label_map()

    def table(
        self,
        pixel_size: float | None = None,
        measure_channels: Sequence[str | int] | str | int = (),
    ) -> pd.DataFrame:
        """Measurements, one row per nucleus; see :func:`nucdet.predict.measurements.measure`.

        Nuclei that were found but have been left out since (``prediction[:5]``,
        :meth:`without_border`) do not count as background.

        Args:
            pixel_size: µm; None: lengths and areas are in pixels.
            measure_channels: names or numbers of the channels to measure, or a single one; empty:
                all.

        Raises:
            InputError: the image has no such channel, or the pixel size is impossible.
        """
        if isinstance(measure_channels, str | numbers.Integral):
            measure_channels = [measure_channels]
        channels = Channels.of_windows(self._source)
        return measure(
            self.pred_masks,
            channels.chosen(measure_channels) if measure_channels else channels,
            pixel_size,
            scores=self.scores.numpy(),
            classes=[self._class_names[number] for number in self.pred_classes.tolist()],
            place=self.place,
            others=self._found,
        )
