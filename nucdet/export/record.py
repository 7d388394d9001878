"""The record of a predicted image, from which the files that cover all images are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nucdet.data.io.choice import Place
from nucdet.structures import CroppedMasks

# What is known of each image besides, by file name: the values of the same columns, as text; ""
# where nothing is known.
Metadata = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class ImageRecord:
    """The nuclei of one image or plane, compact enough to store for thousands of images.

    All fields are plain values, so that ``vars`` returns what JSON can represent. Thumbnail,
    outlines and columns are for the report; :mod:`nucdet.export.report_image` makes them.

    Attributes:
        name: stem of the image's outputs, relative to the output folder.
        file_name: path of the image, relative to the input folder.
        height, width: pixels.
        counts: N masks as COCO's compressed run-length codes.
        areas: N areas, pixels.
        scores: N scores, 0–1.
        classes: N class indices, from 0.
        class_names: the names of all classes, the same in all records of a run.
        thumbnail: a small copy of the image, as a ``data:`` URI.
        thumbnail_size: (width, height) of the thumbnail, pixels.
        outlines: N outlines on the thumbnail, as SVG path data.
        colors: N digits: indices into the report's palette, different for neighbors.
        columns: the table of measurements: N values for each column name.
        familiarity: see :attr:`nucdet.predict.Prediction.familiarity`.
        warning: see :attr:`nucdet.predict.Prediction.warning`.
        time, z: position of the plane in its file, from 0; ``z`` may be "max" or "mean", a
            projection.
        axes: the axes along which planes of the file were predicted: "", "T", "Z" or "TZ".
        pixel_size: µm, or None.
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
    outlines: list[str]
    colors: str
    columns: dict[str, list[Any]] = field(default_factory=dict)
    familiarity: float | None = None
    warning: str = ""
    time: int = 0
    z: int | str = 0
    axes: str = ""
    pixel_size: float | None = None

    @property
    def title(self) -> str:
        """The name to display: the file and, for a stack, the plane, as "film.tif t3 z12"."""
        return " ".join([self.file_name, *(f"{a.lower()}{i}" for a, i in self._plane())])

    @property
    def plane_name(self) -> str:
        """The plane in file names, zero-padded: "", "t0003", "z0012" or "t0003_z0012"."""
        return "_".join(f"{axis.lower()}{index:04}" for axis, index in self._plane())

    def _plane(self) -> list[tuple[str, int | str]]:
        return [(axis, {"T": self.time, "Z": self.z}[axis]) for axis in self.axes]

    @property
    def place(self) -> Place:
        """The position of the plane in its file."""
        return Place(self.time, self.z)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.height, self.width

    def rles(self) -> list[dict[str, Any]]:
        """The N masks for pycocotools: ``{"size": [height, width], "counts": str}`` each."""
        return [{"size": [self.height, self.width], "counts": text} for text in self.counts]

    def masks(self) -> CroppedMasks:
        """The N masks, decoded."""
        return CroppedMasks.from_coco_rle(self.rles(), self.size)
