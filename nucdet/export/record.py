"""What is kept of one predicted image for the files that cover all images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class ImageRecord:
    """The nuclei of one image, small enough to keep those of thousands of images.

    Every field is a plain value, so that ``dataclasses.asdict`` gives what JSON holds. What the
    report shows comes from :mod:`nucdet.export.report_image`.

    Attributes:
        name: of its outputs: a path without ending, relative to the output folder.
        file_name: of the image, relative to the input folder.
        height, width: pixels.
        counts: N compressed COCO run-length codes.
        areas: N areas in pixels.
        scores: N scores.
        classes: N indices of classes, from 0.
        class_names: what they mean, the same in all records of a run.
        thumbnail: a small copy of the image, a ``data:`` URI.
        thumbnail_size: (width, height) of it, in pixels.
        familiarity: see :attr:`nucdet.predict.Prediction.familiarity`.
        warning: what to tell who uses these nuclei; mostly empty.
        outlines: N outlines on it, as SVG path data.
        colors: N digits, indices into the palette that neighbours differ by.
        columns: N values a column of the table of measurements, by its header.
        time, z: of the plane in its file, from 0; z may be "max" or "mean".
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
        """What people read: the file, and the plane where it has several."""
        return " ".join([self.file_name, *(f"{a.lower()}{i}" for a, i in self._plane())])

    @property
    def plane_name(self) -> str:
        """The plane's part of file names, of one width: "", "t0003", "z0012" or "t0003_z0012"."""
        return "_".join(f"{axis.lower()}{index:04}" for axis, index in self._plane())

    def _plane(self) -> list[tuple[str, int | str]]:
        return [(axis, {"T": self.time, "Z": self.z}[axis]) for axis in self.axes]

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
