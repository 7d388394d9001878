"""What is kept of one predicted image for the files that cover all images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class ImageRecord:
    """The nuclei of one image or plane, small enough to keep those of thousands of images.

    Every field is a plain value, so that ``vars`` gives what JSON can hold.
    Thumbnail, outlines and columns are made by :mod:`nucdet.export.report_image`, for the report.

    Attributes:
        name: of the image's outputs: a path without ending, relative to the output folder.
        file_name: of the image, relative to the input folder.
        height, width: pixels.
        counts: N compressed run-length codes of COCO.
        areas: N areas, pixels.
        scores: N scores, 0–1.
        classes: N indices of classes, from 0.
        class_names: of all classes, the same in all records of a run.
        thumbnail: a small copy of the image, a ``data:`` URI.
        thumbnail_size: (width, height) of the thumbnail, pixels.
        outlines: N outlines on the thumbnail, as SVG path data.
        colors: N digits: indices into the report's palette, different for neighbors.
        columns: the table of measurements: N values for each column name.
        familiarity: see :attr:`nucdet.predict.Prediction.familiarity`.
        warning: see :attr:`nucdet.predict.Prediction.warning`.
        time, z: of the plane in its file, from 0; ``z`` may be "max" or "mean", a projection.
        axes: along which planes of the file were predicted: "", "T", "Z" or "TZ".
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
        """The name to show: the file, and the plane where there are several, "film.tif t3 z12"."""
        return " ".join([self.file_name, *(f"{a.lower()}{i}" for a, i in self._plane())])

    @property
    def plane_name(self) -> str:
        """The plane's part of file names, zero-padded: "", "t0003", "z0012" or "t0003_z0012"."""
        return "_".join(f"{axis.lower()}{index:04}" for axis, index in self._plane())

    def _plane(self) -> list[tuple[str, int | str]]:
        return [(axis, {"T": self.time, "Z": self.z}[axis]) for axis in self.axes]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.height, self.width

    def rles(self) -> list[dict]:
        """The N masks as pycocotools takes them: ``{"size": [height, width], "counts": str}``."""
        return [{"size": [self.height, self.width], "counts": text} for text in self.counts]

    def masks(self) -> CroppedMasks:
        """The N masks, decoded."""
        return CroppedMasks.from_coco_rle(self.rles(), self.size)
