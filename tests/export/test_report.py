import json
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from nucdet.export import ReportFacts, report, write_report
from nucdet.export.report_image import THUMBNAIL_BYTES, outline_paths, report_columns
from nucdet.structures import CroppedMasks


class Page(HTMLParser):
    """Text, tags, attributes and data of a page; complains about tags not closed in order."""

    VOID = ("meta", "input", "img")

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.attributes, self.text, self.data = [], [], [], "", []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open

    @property
    def images(self):
        return [content for content in self.data if "scores" in content]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs).get("type")))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == ("script", "application/json"):
            self.data.append(json.loads(data))
        elif not self.open or self.open[-1][0] not in ("script", "style"):
            self.text += data


@pytest.fixture
def records(make_record, masks, no_masks):
    return [make_record("a", masks), make_record("sub/b", no_masks, warning="Look at it.")]


def test_page_needs_no_other_file(tmp_path, records):
    write_report(tmp_path / "r.html", records, ReportFacts())
    page = Page(tmp_path / "r.html")
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    policy = dict(page.attributes)["content"]
    assert "default-src 'none'" in policy and "img-src data:" in policy
    assert "url(" not in page.source and "@import" not in page.source
    for name in ("data", "viewer", "nuclei", "plots", "images"):
        code = resources.files("nucdet.export").joinpath(f"report_{name}.js").read_text("utf-8")
        assert code in page.source


def test_what_the_page_knows_of_an_image(tmp_path, records):
    records = [replace(record, pixel_size=0.5) for record in records]
    write_report(tmp_path / "r.html", records, ReportFacts(is_metric=True, palette=["#123456"]))
    page = Page(tmp_path / "r.html")
    assert "7 nuclei in 2 images" in page.text
    first, second = page.images
    # areas of the fixture: 6 14 2 1 4 1 8 pixels of a quarter µm² each
    assert first["areas"] == [1.5, 3.5, 0.5, 0.25, 1, 0.25, 2]
    assert first["scores"][:2] == [0.5, 0.5625]
    assert first["columns"]["area_px"] == [6, 14, 2, 1, 4, 1, 8]
    assert len(first["outlines"]) == len(first["colors"]) == 7
    assert first["size"] == [12, 7] and first["warning"] == ""
    assert (second["name"], second["warning"]) == ("sub/b.png", "Look at it.")
    (settings,) = [content for content in page.data if "unit" in content]
    assert settings["unit"] == "µm²" and first["pixelArea"] == 0.25
    assert settings["palette"] == ["#123456"]


def test_names_and_reasons_are_escaped_and_failures_listed(tmp_path, make_record, masks):
    name = "</script><script>alert(1)</script><b>\"&'.png"
    nasty = make_record("x", masks, file_name=name, warning="<!--<script>")
    facts = ReportFacts(failures={"<i>.png": "not <an> image"}, settings={"Network": "<net>"})
    write_report(tmp_path / "r.html", [nasty], facts)
    page = Page(tmp_path / "r.html")
    assert page.images[0]["name"] == name and page.images[0]["warning"] == "<!--<script>"
    assert "alert" not in page.text and page.source.count("<script>") == page.source.count(
        "<script>\n"
    )
    assert "<i>.png not <an> image" in page.text
    assert "<net>" in page.text
    assert "<!--" not in page.source


@pytest.mark.parametrize("some", [True, False])
def test_a_run_without_nuclei_or_images_has_a_page(tmp_path, make_record, no_masks, some):
    records = [make_record("a", no_masks)] if some else []
    write_report(tmp_path / "r.html", records, ReportFacts(failures={"b.png": "damaged"}))
    page = Page(tmp_path / "r.html")
    assert "0 nuclei" in page.text and "1 not read" in page.text
    assert ("svg" in page.tags) == some


def test_a_long_page_shows_some_images_and_counts_all(tmp_path, monkeypatch, make_record, masks):
    monkeypatch.setattr(report, "MAX_THUMBNAILS", 3)
    monkeypatch.setattr(report, "MAX_NUCLEI", 15)
    records = [make_record(f"p{i}", masks) for i in range(5)]
    write_report(tmp_path / "r.html", records, ReportFacts())
    page = Page(tmp_path / "r.html")
    assert ["thumbnail" in image for image in page.images] == [True] * 3 + [False] * 2
    assert ["outlines" in image for image in page.images] == [True] * 2 + [False] * 3
    assert [len(image["scores"]) for image in page.images] == [7] * 5
    assert "The first 3 of 5 images are shown" in page.text
    assert "Outlines and measurements of 14 of 35 nuclei are here" in page.text


def test_records_are_read_one_after_the_other(tmp_path, make_record, masks):
    alive = []

    def read():
        for i in range(50):
            record = make_record(f"p{i}", masks)
            alive.append(weakref.ref(record))
            yield record
            del record
            assert sum(ref() is not None for ref in alive) <= 1

    write_report(tmp_path / "r.html", read(), ReportFacts())
    assert len(Page(tmp_path / "r.html").images) == 50


def test_two_hundred_images_fit_into_20_megabytes(tmp_path, make_record):
    # the worst that a thumbnail can be, 100 nuclei with lobes, 40 columns of measurements
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:520, :696] + 0.5
    y, x = 26 + 52 * (rows // 52), 34.8 + 69.6 * (columns // 69.6)
    number = (rows // 52 * 10 + columns // 69.6 + 1).astype(int)
    angle = np.arctan2(rows - y, columns - x)
    radius = 19 + 3 * np.sin(3 * angle + number) + np.sin(11 * angle + number)
    masks = CroppedMasks.from_label_map(number * (np.hypot(rows - y, columns - x) < radius))
    assert len(masks) == 100
    table = pd.DataFrame({f"mean_intensity_{i}": rng.normal(900, 300, 100) for i in range(40)})
    size = len("data:image/webp;base64,") + -(-THUMBNAIL_BYTES // 3) * 4
    record = make_record(
        "p",
        masks,
        columns=report_columns(table),
        thumbnail="data:image/webp;base64,".ljust(size, "A"),
        thumbnail_size=(696, 520),
        outlines=outline_paths(masks, (696, 520)),
    )
    sizes = []
    for count in (1, 3):
        write_report(tmp_path / "r.html", [record] * count, ReportFacts())
        sizes.append((tmp_path / "r.html").stat().st_size)
    an_image = (sizes[1] - sizes[0]) / 2
    assert sizes[0] + 199 * an_image < 20e6
