"""Training images made of several: copy-paste of nuclei and mosaics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from nucdet.data.augment.copy_paste import paste_nuclei
from nucdet.data.augment.photometry import build_photometric
from nucdet.data.augment.sample import Sample
from nucdet.structures import CroppedMasks

# Share of the images whose copies of nuclei come from another image of the same kind
_FROM_ANOTHER = 0.5

# From a data set's dict to an image after the geometric augmentations
Reader = Callable[[dict[str, Any]], Sample]


@dataclass
class Composition:
    """Joins images as INPUT.AUGMENTATION.COPY_PASTE and MOSAIC say.

    Nuclei are pasted between images whose geometry is augmented and whose light and colour are
    not yet; the parts of a mosaic get light and colour of their own.

    Attributes:
        cfg: the node INPUT.AUGMENTATION.
        records: where other images come from; empty: the image itself is the other one.
        photometric: augmentations of light and colour.
    """

    cfg: CfgNode
    records: Sequence[dict[str, Any]]
    photometric: T.AugmentationList

    def __post_init__(self) -> None:
        self._by_kind: dict[str, list[int]] = defaultdict(list)
        if self.cfg.COPY_PASTE.PROB > 0:
            for i in range(len(self.records)):
                self._by_kind[self.records[i].get("kind", "")].append(i)

    @classmethod
    def from_config(cls, cfg: CfgNode, records: Sequence[dict[str, Any]]) -> Composition | None:
        """None where the config asks for neither."""
        aug = cfg.INPUT.AUGMENTATION
        if not aug.COPY_PASTE.PROB and not aug.MOSAIC.PROB:
            return None
        return cls(aug, records, T.AugmentationList(build_photometric(aug)))

    def __call__(self, record: dict[str, Any], read: Reader) -> Sample:
        """The image of ``record``, perhaps with copies of nuclei, perhaps in a mosaic."""
        sample = read(record)
        keys = self.cfg.COPY_PASTE
        if np.random.rand() < keys.PROB:
            source = sample
            if np.random.rand() < _FROM_ANOTHER:
                source = read(self._same_kind(record))
            sample = paste_nuclei(sample, source, keys.MAX_FRACTION, keys.TOUCHING)
        if np.random.rand() < self.cfg.MOSAIC.PROB:
            others = [read(self._any(record)) for _ in range(3)]
            return mosaic([sample, *others], self._light)
        return replace(sample, image=self._light(sample.image))

    def _light(self, image: np.ndarray) -> np.ndarray:
        augmented = T.AugInput(image)
        self.photometric(augmented)
        return augmented.image

    def _any(self, record: dict[str, Any]) -> dict[str, Any]:
        return self.records[np.random.randint(len(self.records))] if len(self.records) else record

    def _same_kind(self, record: dict[str, Any]) -> dict[str, Any]:
        alike = self._by_kind.get(record.get("kind", ""))
        return self.records[alike[np.random.randint(len(alike))]] if alike else record


def mosaic(parts: Sequence[Sample], light: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """Four images around a random point, each a random window of its own (YOLOv4's mosaic).

    Args:
        parts: four images; the first gives the size. Where one is smaller than its quarter, the
            rest of the quarter is filled with its median colour.
        light: changes light and colour of each part.

    Returns:
        The mosaic with the masks cut at the seams.
    """
    height, width = parts[0].image.shape[:2]
    middle_y = round(height * np.random.uniform(0.3, 0.7))
    middle_x = round(width * np.random.uniform(0.3, 0.7))
    image = np.empty_like(parts[0].image)
    corners, windows, classes = [], [], []
    quarters = [
        (y0, x0, y1, x1)
        for y0, y1 in ((0, middle_y), (middle_y, height))
        for x0, x1 in ((0, middle_x), (middle_x, width))
    ]
    for part, (y0, x0, y1, x1) in zip(parts, quarters, strict=True):
        part_h, part_w = part.image.shape[:2]
        tall, wide = min(y1 - y0, part_h), min(x1 - x0, part_w)
        y = np.random.randint(part_h - tall + 1)
        x = np.random.randint(part_w - wide + 1)
        lit = light(np.ascontiguousarray(part.image[y : y + tall, x : x + wide]))
        if (tall, wide) != (y1 - y0, x1 - x0):
            image[y0:y1, x0:x1] = np.median(lit, axis=(0, 1))
        image[y0 : y0 + tall, x0 : x0 + wide] = lit
        for index, (corner, window) in _within(part.masks, y, x, tall, wide):
            corners.append((corner[0] + y0, corner[1] + x0))
            windows.append(window)
            classes.append(part.classes[index])
    masks = CroppedMasks.from_windows(np.array(corners).reshape(-1, 2), windows, (height, width))
    return Sample(image, masks, np.array(classes, np.int64))


def _within(
    masks: CroppedMasks, y: int, x: int, height: int, width: int
) -> list[tuple[int, tuple[tuple[int, int], np.ndarray]]]:
    """What a window sees: (index, ((y0, x0) in the window, bool crop)) of each mask in it."""
    seen = []
    for index, ((top, left), crop) in enumerate(
        zip(masks.offsets.tolist(), masks.crops, strict=True)
    ):
        rows = slice(max(0, y - top), max(0, y + height - top))
        columns = slice(max(0, x - left), max(0, x + width - left))
        piece = crop[rows, columns]
        if piece.any():
            seen.append((index, ((max(top, y) - y, max(left, x) - x), piece)))
    return seen
