"""The page that shows a whole run: one HTML file that needs no other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nucdet.export.histogram import histogram_svg
from nucdet.export.record import ImageRecord
from nucdet.files import write_atomically

# a thumbnail is about 20 kB; a page of thousands would not open
MAX_THUMBNAILS = 300


@dataclass(frozen=True)
class ReportFacts:
    """What the page says about the run beside its results.

    Attributes:
        pixel_size: µm, or None: areas are in pixels.
        settings: named values shown at the end of the page.
        failures: why not, by file name.
    """

    pixel_size: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def area(self, pixels: float) -> float:
        """An area in the page's unit."""
        return pixels * (self.pixel_size or 1) ** 2

    @property
    def unit(self) -> str:
        """Of areas."""
        return "px" if self.pixel_size is None else "µm²"


def write_report(
    path: str | os.PathLike[str], records: Iterable[ImageRecord], facts: ReportFacts
) -> None:
    """Write counts, size histogram, images with outlines and a table as one HTML file.

    Thumbnails of the first :data:`MAX_THUMBNAILS` images are shown; numbers cover all of them. The
    page holds no script and no date: equal results give equal bytes.

    Raises:
        OSError: the file cannot be written.
    """
    records = list(records)
    areas = [facts.area(area) for record in records for area in record.areas]
    label = "Area of a nucleus in pixels" if facts.unit == "px" else "Area of a nucleus in µm²"
    page = _TEMPLATE.render(
        records=records,
        facts=facts,
        nuclei=len(areas),
        median=float(np.median(areas)) if areas else None,
        per_image=np.median([len(record.areas) for record in records]) if records else None,
        histogram=Markup(histogram_svg(areas, label)) if areas else "",
        max_thumbnails=MAX_THUMBNAILS,
    )
    with write_atomically(path) as temporary:
        temporary.write_text(page + "\n", encoding="utf-8")


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


_ENVIRONMENT = Environment(
    loader=PackageLoader("nucdet", "export"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_ENVIRONMENT.filters["many"] = _many
_ENVIRONMENT.filters["number"] = format
_TEMPLATE = _ENVIRONMENT.get_template("report.html")
