"""Writes the report of a run, a self-contained HTML file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nucdet.export.record import ImageRecord, Metadata
from nucdet.export.report_image import OUTLINE_GRID, short_number
from nucdet.files import open_atomically

# a thumbnail is up to 51 kB of text; a browser could not open a page with thousands of them
MAX_THUMBNAILS = 300
# outline and measurements of one nucleus take about 250 bytes
MAX_NUCLEI = 60_000

# classic scripts instead of modules, because they share global names; the order matters
_SCRIPTS = ("data", "viewer", "nuclei", "plots", "images")
# the rules for narrow screens and for print must come last
_STYLES = ("report_parts.css", "report.css")


@dataclass(frozen=True)
class ReportFacts:
    """What the report shows of the run in addition to its results.

    Attributes:
        is_metric: whether areas are in µm²; only if all images have a pixel size.
        settings: named values shown at the end of the page.
        failures: the reason for each file that could not be predicted, by file name.
        palette: CSS colors of the outlines, to which :attr:`ImageRecord.colors` refers.
        metadata: what is known of each image besides, by which the page groups images.
    """

    is_metric: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    palette: Sequence[str] = ("#ffd700",)
    metadata: Metadata = field(default_factory=dict)

    def pixel_area(self, record: ImageRecord) -> float:
        """The area of a pixel of an image, in :attr:`unit`."""
        return record.pixel_size**2 if self.is_metric and record.pixel_size else 1

    @property
    def unit(self) -> str:
        """The unit of areas."""
        return "µm²" if self.is_metric else "px"


def write_report(
    path: str | os.PathLike[str], records: Iterable[ImageRecord], facts: ReportFacts
) -> None:
    """Write images with outlines, tables and distributions as one HTML file.

    The page has thumbnails of the first :data:`MAX_THUMBNAILS` images. Outlines and measurements
    are included for those of them that do not bring the total above :data:`MAX_NUCLEI` nuclei.
    Counts, areas and scores cover all images. The page loads no other files and contains no date,
    so that equal results give equal bytes.

    Args:
        path: an existing file is replaced.
        records: iterated over once, one at a time, so that only one is in memory.
        facts: further information on the run.

    Raises:
        OSError: the file cannot be written.
    """
    totals = {"nuclei": 0, "images": 0, "thumbnails": 0, "detailed": 0}
    page = _TEMPLATE.stream(
        images=_images(records, facts, totals),
        totals=totals,
        facts=facts,
        settings=_json(
            {
                "unit": facts.unit,
                "palette": facts.palette,
                "grid": OUTLINE_GRID,
            }
        ),
        styles=[_source(name) for name in _STYLES],
        scripts=[_source(f"report_{name}.js") for name in _SCRIPTS],
    )
    with open_atomically(path) as file:
        page.dump(file)
        file.write("\n")


def _images(
    records: Iterable[ImageRecord], facts: ReportFacts, totals: dict[str, int]
) -> Iterator[Markup]:
    """JSON of each image for the page's scripts; ``totals`` is updated meanwhile."""
    for record in records:
        count, pixel_area = len(record.areas), facts.pixel_area(record)
        content: dict[str, Any] = {
            "name": record.title,
            "size": [record.width, record.height],
            "pixelArea": pixel_area,
            "areas": [short_number(area * pixel_area) for area in record.areas],
            "scores": [short_number(score) for score in record.scores],
            "warning": record.warning,
            "metadata": facts.metadata.get(record.file_name, {}),
        }
        if totals["images"] < MAX_THUMBNAILS:
            totals["thumbnails"] += 1
            content |= {"thumbnail": record.thumbnail, "thumbnailSize": record.thumbnail_size}
            if totals["detailed"] + count <= MAX_NUCLEI:
                totals["detailed"] += count
                content |= {"outlines": record.outlines, "colors": record.colors}
                content["columns"] = record.columns
        totals["images"] += 1
        totals["nuclei"] += count
        yield _json(content)


def _json(content: Any) -> Markup:
    """JSON that is safe inside a script element: no text in it can close the element."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))


def _source(name: str) -> Markup:
    return Markup(resources.files("nucdet.export").joinpath(name).read_text(encoding="utf-8"))


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
_TEMPLATE = _ENVIRONMENT.get_template("report.html")
