"""Training images composed of several: nuclei of one are pasted into or laid over another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from nucdet.data.augment.copy_paste import paste_nuclei
from nucdet.data.augment.overlay import overlay
from nucdet.data.augment.photometry import build_photometric
from nucdet.data.augment.sample import Sample

# Share of the images into which nuclei are pasted from another image of the same kind
_FROM_ANOTHER = 0.5

# From a data set's dict to an image after the geometric augmentations
Reader = Callable[[dict[str, Any]], Sample]


@dataclass
class Composition:
    """Combines images according to INPUT.AUGMENTATION.COPY_PASTE and OVERLAY.

    Images are combined after the geometric augmentations but before those of light and color, so
    that what comes from another one gets the same light and color as its surroundings.

    Attributes:
        cfg: the node INPUT.AUGMENTATION.
        records: the source of other images; empty: nuclei are copied within the image.
        photometric: augmentations of light and color.
    """

    cfg: CfgNode
    records: Sequence[dict[str, Any]]
    photometric: T.AugmentationList

    def __post_init__(self) -> None:
        self._by_kind: dict[str, list[int]] = defaultdict(list)
        for i in range(len(self.records)):
            self._by_kind[self.records[i].get("kind", "")].append(i)

    @classmethod
    def from_config(cls, cfg: CfgNode, records: Sequence[dict[str, Any]]) -> Composition | None:
        """From INPUT.AUGMENTATION; None if the images are not combined."""
        aug = cfg.INPUT.AUGMENTATION
        if not (aug.COPY_PASTE.PROB or aug.OVERLAY.PROB):
            return None
        return cls(aug, records, T.AugmentationList(build_photometric(cfg)))

    def __call__(self, record: dict[str, Any], read: Reader) -> Sample:
        """The image of ``record``, perhaps with nuclei of another one or copies of its own."""
        sample = read(record)
        keys = self.cfg.COPY_PASTE
        if np.random.rand() < keys.PROB:
            source = sample
            if np.random.rand() < _FROM_ANOTHER:
                source = read(self._same_kind(record))
            sample = paste_nuclei(sample, source, keys.MAX_FRACTION, keys.TOUCHING)
        # a config without overlays draws no number for them: it trains as before they existed
        if self.cfg.OVERLAY.PROB and np.random.rand() < self.cfg.OVERLAY.PROB:
            sample = overlay(sample, read(self._same_kind(record)))
        augmented = T.AugInput(sample.image)
        self.photometric(augmented)
        return replace(sample, image=augmented.image)

    def _same_kind(self, record: dict[str, Any]) -> dict[str, Any]:
        alike = self._by_kind.get(record.get("kind", ""))
        return self.records[alike[np.random.randint(len(alike))]] if alike else record
