import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from nucdet.export import ReportFacts, report, write_report
from nucdet.export.histogram import histogram_svg


class Page(HTMLParser):
    """Text, tags and attributes of a page; complains about tags that are not closed in order."""

    VOID = ("meta", "img")

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def records(make_record, masks, no_masks):
    return [make_record("a", masks), make_record("b", no_masks)]


def test_page_needs_no_other_file(tmp_path, records):
    write_report(tmp_path / "r.html", records, ReportFacts())
    page = Page(tmp_path / "r.html")
    links = [value for name, value in page.attributes if name in ("src", "href")]
    assert links
    assert "--panel" in page.source
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in links)
    assert "script" not in page.tags
    assert "url(" not in page.source and "@import" not in page.source


def test_counts_and_sizes(tmp_path, records):
    write_report(tmp_path / "r.html", records, ReportFacts(pixel_size=0.5))
    page = Page(tmp_path / "r.html")
    assert "7 nuclei in 2 images" in page.text
    # areas of the fixture: 6 14 2 1 4 1 8 pixels of a quarter µm² each
    assert "7 nuclei · median 1 µm²" in page.text
    assert "0 nuclei" in page.text
    assert page.tags.count("img") == 2
    assert page.tags.count("svg") == 1


def test_images_to_check_are_counted_and_marked(tmp_path, make_record, masks):
    strange = replace(make_record("a", masks), familiarity=0.8, warning="unlike <others>")
    write_report(tmp_path / "r.html", [strange, make_record("b", masks)], ReportFacts())
    text = (tmp_path / "r.html").read_text()
    assert text.count("unlike &lt;others&gt;") == 2  # under the image, in the table
    assert text.count("To check by eye") == 1
    write_report(tmp_path / "r.html", [make_record("b", masks)], ReportFacts())
    assert "To check by eye" not in (tmp_path / "r.html").read_text()


def test_names_and_reasons_are_escaped_and_failures_listed(tmp_path, make_record, masks):
    nasty = make_record("x", masks, file_name='<b>"&.png')
    facts = ReportFacts(failures={"<i>.png": "not <an> image"}, settings={"Network": "<net>"})
    write_report(tmp_path / "r.html", [nasty], facts)
    page = Page(tmp_path / "r.html")
    assert '<b>"&.png' in page.text
    assert "<i>.png not <an> image" in page.text
    assert "<net>" in page.text


@pytest.mark.parametrize("some", [True, False])
def test_a_run_without_nuclei_or_images_has_a_page(tmp_path, make_record, no_masks, some):
    records = [make_record("a", no_masks)] if some else []
    write_report(tmp_path / "r.html", records, ReportFacts(failures={"b.png": "damaged"}))
    page = Page(tmp_path / "r.html")
    assert "0 nuclei" in page.text
    assert "svg" not in page.tags


def test_a_long_page_shows_some_images_and_lists_all(tmp_path, monkeypatch, make_record, masks):
    monkeypatch.setattr(report, "MAX_THUMBNAILS", 3)
    records = [make_record(f"p{i}", masks) for i in range(5)]
    write_report(tmp_path / "r.html", records, ReportFacts())
    page = Page(tmp_path / "r.html")
    assert page.tags.count("img") == 3
    assert "The first 3 of 5 images are shown" in page.text
    assert "p4.png" in page.text


def _bars(svg):
    root = ElementTree.fromstring(svg)
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    return [re.fullmatch(r"(.*): ([\d,]+)", title).groups() for title in titles]


def test_histogram_counts_every_value_once():
    values = [*range(1, 1001), 50_000]
    bars = _bars(histogram_svg(values, "area"))
    assert sum(int(count.replace(",", "")) for _, count in bars) == 1001
    assert bars[-1][0].endswith("and more")
    # whole numbers: every full bar holds as many of them
    assert len({count for _, count in bars[1:-2]}) == 1


@pytest.mark.parametrize("values", [[0.0], [3], [1e-6, 2e-6], [7] * 10, [1e9, 2e9], [2.5]])
def test_histogram_of_any_values_is_whole(values):
    bars = _bars(histogram_svg(values, "area"))
    assert sum(int(count) for _, count in bars) == len(values)


def test_histogram_is_repeatable_and_says_its_label_and_median():
    svg = histogram_svg([1.5, 2.5, 4.25], "area in <µm²>")
    assert svg == histogram_svg([1.5, 2.5, 4.25], "area in <µm²>")
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert "median 2.5" in text and "area in <µm²>" in text and "larger" not in text
    assert "1 larger, in the last bar" in histogram_svg([1.0] * 500 + [90.0], "area")
