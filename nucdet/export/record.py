"""What is kept of one predicted image for the files that cover all images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class ImageRecord:
    """The nuclei of one image, small enough to keep those of thousands of images.

    Every field is a plain value, so that ``dataclasses.asdict`` gives what JSON holds.

    Attributes:
        name: of its outputs: a path without ending, relative to the output folder.
        file_name: of the image, relative to the input folder.
        height, width: pixels.
        counts: N compressed COCO run-length codes.
        areas: N areas in pixels.
        scores: N scores.
        classes: N indices of classes, from 0.
        class_names: what they mean, the same in all records of a run.
        thumbnail: the image with outlines, a ``data:`` URI.
        thumbnail_size: (width, height) of it, in pixels.
        familiarity: see :attr:`nucdet.predict.Prediction.familiarity`.
        warning: what to tell who uses these nuclei; mostly empty.
    """

    name: str
    file_name: str
    height: int
    width: int
    counts: list[str]
    areas: list[int]
    scores: list[float]
    classes: list[int]
    class_names: list[str]
    thumbnail: str
    thumbnail_size: tuple[int, int]
    familiarity: float | None = None
    warning: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def rles(self) -> list[dict]:
        """The masks as pycocotools takes them."""
        return [{"size": [self.height, self.width], "counts": text} for text in self.counts]

    def masks(self) -> CroppedMasks:
        """The masks again."""
        return CroppedMasks.from_coco_rle(self.rles(), self.size)

    def median_area(self) -> float:
        """Pixels; NaN where there is no nucleus."""
        return float(np.median(self.areas)) if self.areas else float("nan")
