"""The page that shows a whole run: one HTML file that needs no other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from string import Template

import numpy as np

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
    """Write counts, size histogram, pictures with outlines and a table as one HTML file.

    Pictures of the first :data:`MAX_THUMBNAILS` images are shown; numbers cover all of them. The
    page holds no script and no date: equal results give equal bytes.

    Raises:
        OSError: the file cannot be written.
    """
    records = list(records)
    areas = [facts.area(area) for record in records for area in record.areas]
    label = "Area of a nucleus in pixels" if facts.unit == "px" else "Area of a nucleus in µm²"
    page = Template(_PAGE).substitute(
        title=f"{_many(len(areas), 'nucleus', 'nuclei')} in "
        f"{_many(len(records), 'picture', 'pictures')}",
        style=_STYLE,
        tiles=_tiles(records, areas, facts),
        failures=_failures(facts.failures),
        histogram=_histogram(areas, label),
        gallery=_gallery(records[:MAX_THUMBNAILS], facts),
        hidden=_hidden(len(records)),
        table=_table(records, facts),
        settings="".join(
            f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.settings.items()
        ),
    )
    with write_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _tiles(records: Sequence[ImageRecord], areas: Sequence[float], facts: ReportFacts) -> str:
    tiles = [("Nuclei", f"{len(areas):,}"), ("Pictures", f"{len(records):,}")]
    if records:
        counts = [len(record.areas) for record in records]
        tiles.append(("Median per picture", f"{np.median(counts):,.4g}"))
    if areas:
        tiles.append(("Median area", f"{np.median(areas):,.4g}<small> {facts.unit}</small>"))
        diameter = 2 * np.sqrt(np.median(areas) / np.pi)
        unit = facts.unit.removesuffix("²")
        tiles.append(("Median diameter", f"{diameter:,.3g}<small> {unit}</small>"))
    if facts.failures:
        tiles.append(("Failed", f'<span class="bad">{len(facts.failures):,}</span>'))
    return "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in tiles)


def _failures(failures: Mapping[str, str]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li><b>{escape(name)}</b> {escape(why)}</li>" for name, why in failures.items()
    )
    return f'<section class="failed"><h2>Not read</h2><ul>{items}</ul></section>'


def _histogram(areas: Sequence[float], label: str) -> str:
    if not areas:
        return ""
    svg = histogram_svg(areas, label)
    return f'<section><h2>Size of the nuclei</h2><div class="panel">{svg}</div></section>'


def _gallery(records: Sequence[ImageRecord], facts: ReportFacts) -> str:
    cards = []
    for number, record in enumerate(records, 1):
        width, height = record.thumbnail_size
        count = _many(len(record.areas), "nucleus", "nuclei")
        size = f" · median {facts.area(record.median_area()):,.4g} {facts.unit}"
        cards.append(
            f'<figure id="p{number}"><img src="{record.thumbnail}" width="{width}" '
            f'height="{height}" alt="{escape(record.file_name)} with outlines" loading="lazy">'
            f'<figcaption><b title="{escape(record.file_name)}">{escape(record.file_name)}</b>'
            f"<span>{count}{size if record.areas else ''}</span></figcaption></figure>"
        )
    return "".join(cards)


def _hidden(count: int) -> str:
    if count <= MAX_THUMBNAILS:
        return ""
    return f"<p>The first {MAX_THUMBNAILS} of {count:,} pictures are shown; the table has all.</p>"


def _table(records: Sequence[ImageRecord], facts: ReportFacts) -> str:
    rows = []
    for number, record in enumerate(records, 1):
        name = escape(record.file_name)
        if number <= MAX_THUMBNAILS:
            name = f'<a href="#p{number}">{name}</a>'
        count = len(record.areas)
        area = f"{facts.area(record.median_area()):,.4g}" if count else "–"
        score = f"{np.mean(record.scores):.2f}" if count else "–"
        covered = 100 * sum(record.areas) / (record.width * record.height)
        rows.append(
            f"<tr><td>{name}</td><td>{record.width} × {record.height}</td>"
            f"<td>{count:,}</td><td>{area}</td><td>{covered:.1f} %</td><td>{score}</td></tr>"
        )
    return (
        "<table><thead><tr><th>Picture</th><th>Pixels</th><th>Nuclei</th>"
        f"<th>Median area, {facts.unit}</th><th>Covered</th><th>Mean score</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


_STYLE = """
:root{--ground:#f6f7f9;--panel:#fff;--ink:#16202c;--soft:#5c6b7c;--line:#e2e7ed;--hue:#1278a8;
--tint:#d8ecf6;--bad:#b42318;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ground:#10151b;--panel:#181f28;--ink:#e8edf3;
--soft:#93a1b1;--line:#2a3440;--hue:#4fb6e3;--tint:#17384a;--bad:#ff8a7a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 24px 56px}
.brand{color:var(--hue);font-weight:600;letter-spacing:.04em}
h1{font-size:32px;line-height:1.2;margin:2px 0 24px;letter-spacing:-.01em}
h2{font-size:17px;margin:36px 0 12px}
.tiles{display:flex;flex-wrap:wrap;gap:12px}
.tiles div{flex:1 1 140px;background:var(--panel);border:1px solid var(--line);
border-radius:10px;padding:14px 18px}
.tiles b{display:block;font-size:25px;line-height:1.2;font-variant-numeric:tabular-nums}
.tiles span,.tiles small{color:var(--soft);font-size:13px;font-weight:400}
.tiles .bad{color:var(--bad);font-size:inherit;font-weight:inherit}
.panel{background:var(--panel);border:1px solid var(--line);border-radius:10px;padding:16px}
svg{display:block;width:100%;max-width:900px;margin:0 auto;height:auto}
svg .bar{fill:var(--hue);opacity:.85}svg .grid{stroke:var(--line)}
svg .axis{fill:var(--soft);font-size:12px}
svg .median{stroke:var(--ink);stroke-dasharray:4 3}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:16px}
figure{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:10px;
overflow:hidden;display:flex;flex-direction:column}
figure:target{outline:2px solid var(--hue)}
figure img{width:100%;aspect-ratio:1.15;height:auto;object-fit:contain;display:block;
background:#0b0e12}
figcaption{padding:10px 14px;font-size:13px}
figcaption b{display:block;font-weight:600;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis}
figcaption span{color:var(--soft)}
.scroll{overflow-x:auto;background:var(--panel);border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:7px 14px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600;font-size:13px}
th:first-child,td:first-child{text-align:left}
td:first-child{overflow-wrap:anywhere;white-space:normal}
tbody tr:last-child td{border-bottom:0}
a{color:inherit;text-decoration-color:var(--line);text-underline-offset:3px}
.failed ul{margin:0;padding:14px 14px 14px 32px;border:1px solid var(--bad);border-radius:10px;
background:var(--panel)}
.failed h2{color:var(--bad)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;color:var(--soft);margin:0;
font-size:13px}dd{margin:0;overflow-wrap:anywhere}
@media print{figure,tr{break-inside:avoid}}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body><main>
<div class="brand">nucdet</div>
<h1>$title</h1>
<div class="tiles">$tiles</div>
$failures
$histogram
<section><h2>Pictures</h2>$hidden<div class="gallery">$gallery</div></section>
<section><h2>Table</h2><div class="scroll">$table</div></section>
<section><h2>How it was made</h2><dl>$settings</dl></section>
</main></body>
</html>
"""
