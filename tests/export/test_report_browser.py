"""The report in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nucdet.export import ReportFacts, write_report
from nucdet.export.report_image import encode_thumbnail
from nucdet.structures import CroppedMasks

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing: pip install playwright"
)
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)

NASTY = "b/<script>window.broken = 1</script>.png"
# rows of nuclei of 20 × 20 pixels, 40 apart, with scores that fall by 0.1
SIZE = (120, 200)


def nuclei(count: int) -> CroppedMasks:
    labels = np.zeros(SIZE, int)
    for i in range(count):
        y, x = 10 + i // 5 * 40, 10 + i % 5 * 40
        labels[y : y + 20, x : x + 20] = i + 1
    return CroppedMasks.from_label_map(labels)


@pytest.fixture(scope="module")
def report_file(tmp_path_factory, make_record):
    """a/10.png: 3 nuclei, a warning; a/9.png: 6 nuclei; b/<script>…: none."""
    thumbnail, size = encode_thumbnail(np.full((*SIZE, 3), (150, 90, 190), np.uint8))
    records = []
    for name, count, warning in (
        ("a/10.png", 3, "Unlike <b>."),
        ("a/9.png", 6, ""),
        (NASTY, 0, ""),
    ):
        masks = nuclei(count)
        columns = {
            "id": list(range(1, count + 1)),
            "area_um2": masks.areas.tolist(),
            "<i>mean</i>": [10.5 * ((i * 4) % 7) for i in range(count)],
        }
        fields = {"thumbnail": thumbnail, "thumbnail_size": size, "columns": columns}
        record = make_record(name, masks, name, warning=warning, **fields)
        records.append(replace(record, scores=[1 - i / 10 for i in range(count)]))
    path = tmp_path_factory.mktemp("report") / "report.html"
    palette = [
        "#ffd700",
        "#00cdff",
        "#ff4b4b",
        "#5082ff",
        "#3cd750",
        "#ff6edc",
        "#ff9614",
        "#af5fff",
    ]
    doses = {"a/10.png": "10 µM", "a/9.png": "9 µM", NASTY: ""}
    metadata = {name: {"dose": dose, "name": "<b>"} for name, dose in doses.items()}
    write_report(path, records, ReportFacts(palette=palette, metadata=metadata))
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # root in a container has no sandbox
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, report_file):
    """The report, opened; the test fails for any error or request of the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url))
    page.goto(report_file.as_uri())
    yield page
    context.close()
    assert [text for text in wrong if not text.startswith(("data:", "file:"))] == []


def names(page) -> list[str]:
    return page.locator("#gallery b").all_inner_texts()


def set_threshold(page, value: str) -> None:
    page.locator("#threshold").fill(value)
    # the page draws with the next frame
    page.wait_for_timeout(60)


def click_image(page, x: float, y: float) -> None:
    """Click on a point given in pixels of the image, as it lies in the viewer."""
    box = page.locator("#viewer").bounding_box()
    scale = min(box["width"] / SIZE[1], box["height"] / SIZE[0])
    left = (box["width"] - SIZE[1] * scale) / 2
    top = (box["height"] - SIZE[0] * scale) / 2
    page.locator("#viewer").click(position={"x": left + x * scale, "y": top + y * scale})


def selected_row(page) -> list[str]:
    return page.locator("#nuclei tr[aria-selected=true] td").all_inner_texts()


def view_box(page) -> list[float]:
    return [float(n) for n in page.locator("#viewer").get_attribute("viewBox").split()]


def test_it_opens_with_the_first_image_and_names_are_no_markup(page):
    # numbers in names count as numbers
    assert names(page) == ["a/9.png", "a/10.png", NASTY]
    assert page.locator("#viewer-name").inner_text() == "a/9.png"
    assert page.title() == "9 nuclei in 3 images"
    assert page.evaluate("window.broken") is None
    assert "<i>mean</i>" in page.locator("#nuclei thead").inner_text()
    assert "Unlike <b>." in page.locator("#gallery").inner_text()


def test_the_threshold_hides_nuclei_and_counts_follow(page):
    assert page.locator("#threshold").get_attribute("min") == "0.5"
    set_threshold(page, "0.85")
    assert page.locator("#title").inner_text() == "4 nuclei in 3 images"
    assert page.locator("#nuclei tbody tr").count() == 2
    assert "2 nuclei" in page.locator(".card", has_text="a/9.png").inner_text()
    outlines = page.locator("#viewer path.dark").get_attribute("d")
    assert outlines.count("M") == 2
    # the score itself still counts, and keys move the slider
    set_threshold(page, "0.9")
    assert page.locator("#nuclei tbody tr").count() == 2
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(60)
    assert page.locator("#threshold-value").inner_text() == "0.91"
    assert page.locator("#nuclei tbody tr").count() == 1


def test_outlines_go_off_and_on_in_viewer_and_gallery(page):
    assert page.locator("#viewer path.outline").count() > 1
    page.get_by_label("Outlines").uncheck()
    assert page.locator("path.outline").count() == 0
    page.get_by_label("Outlines").check()
    page.locator("#gallery svg path.outline.dark").first.wait_for(state="attached")
    assert page.locator("#viewer path.outline").count() > 1


def test_a_click_on_an_outline_shows_its_row_and_the_other_way(page):
    # the second of the first row: x 50 to 70
    click_image(page, 60, 20)
    assert selected_row(page)[0] == "2"
    assert page.locator("#viewer path.selected").count() == 2
    page.locator("#nuclei tbody tr").nth(5).click()
    assert selected_row(page)[0] == "6"
    box = page.evaluate(
        "(() => { const b = document.querySelector('#viewer path.selected')"
        ".getBBox(); return [b.x, b.y, b.width, b.height]; })()"
    )
    grid = view_box(page)[2] / SIZE[1]
    assert np.abs(np.array(box) / grid - (10, 50, 20, 20)).max() < 1
    # beside all nuclei: nothing is chosen
    click_image(page, 190, 110)
    assert selected_row(page) == []
    # what the threshold hides cannot be chosen
    set_threshold(page, "0.95")
    click_image(page, 60, 20)
    assert selected_row(page) == []


def test_the_table_of_all_nuclei_leads_to_other_images(page):
    page.locator("#scope").select_option("all")
    assert page.locator("#nuclei tbody tr").count() == 9
    page.get_by_role("button", name="<i>mean</i>").click()
    page.get_by_role("button", name="<i>mean</i>").click()
    values = [float(t) for t in page.locator("#nuclei td:nth-child(4)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    page.locator("#nuclei tbody tr", has_text="a/10.png").first.click()
    assert page.locator("#viewer-name").inner_text() == "a/10.png"
    assert page.locator("#viewer-warning").inner_text() == "Unlike <b>."
    assert selected_row(page)[0] == "a/10.png"


def test_the_keyboard_alone_chooses_rows_and_zooms(page):
    page.locator("#nuclei tbody tr").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert selected_row(page)[0] == "3"
    page.keyboard.press("End")
    assert selected_row(page)[0] == "6"
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    whole = view_box(page)
    page.locator("#viewer").focus()
    page.keyboard.press("+")
    assert view_box(page)[2] == pytest.approx(whole[2] / 1.5)
    page.keyboard.press("0")
    assert view_box(page) == whole


def test_wheel_and_buttons_zoom_and_dragging_moves(page):
    whole = view_box(page)
    box = page.locator("#viewer").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -500)
    page.wait_for_function("document.getElementById('viewer').viewBox.baseVal.width < 399")
    zoomed = view_box(page)
    # around the pointer: more of the right side than of the left
    assert zoomed[0] > (whole[2] - zoomed[2]) / 2
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert view_box(page)[0] < zoomed[0] and selected_row(page) == []
    page.get_by_role("button", name="Fit").click()
    assert view_box(page) == whole
    page.get_by_role("button", name="Zoom in").click()
    assert view_box(page)[2] == pytest.approx(whole[2] / 1.5)


def test_an_image_beside_free_space_follows_the_pointer(page):
    # too low for the whole width: the image fills half of it
    page.set_viewport_size({"width": 1280, "height": 300})
    page.get_by_role("button", name="Zoom in").click()
    page.evaluate("byId('viewer').scrollIntoView({block: 'end'})")  # not below the controls
    box, before = page.locator("#viewer").bounding_box(), view_box(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 10)
    page.mouse.up()
    scale = before[3] / box["height"]
    assert box["width"] * scale > 1.5 * before[2]
    expected = [before[0] - 20 * scale, before[1] - 10 * scale, *before[2:]]
    assert view_box(page) == pytest.approx(expected, abs=0.1)


def test_images_are_sorted_and_filtered(page):
    page.get_by_label("Sort images by").select_option("count")
    assert names(page) == [NASTY, "a/10.png", "a/9.png"]
    page.get_by_role("button", name="Turn the order round").click()
    assert names(page) == ["a/9.png", "a/10.png", NASTY]
    page.locator("summary").click()
    page.get_by_label("Nuclei from").fill("1")
    page.get_by_label("Mean score from").fill("0.85")
    page.wait_for_timeout(60)
    assert names(page) == ["a/10.png"]
    assert page.locator("#title").inner_text() == "3 nuclei in 1 image"
    assert page.locator("#images tbody tr").count() == 1
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Only with a warning").check()
    page.wait_for_timeout(60)
    assert names(page) == ["a/10.png"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Name or metadata contains").fill("9 µm")
    page.wait_for_timeout(60)
    assert names(page) == ["a/9.png"]
    page.get_by_label("Name or metadata contains").fill("nothing like it")
    page.wait_for_timeout(60)
    assert page.locator("#title").inner_text() == "0 nuclei in 0 images"
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Mean area, px").click()
    assert len(names(page)) == 3


def test_distributions_are_of_each_group_of_images_and_every_nucleus(page):
    rows = page.locator("#groups tbody tr")

    def texts():
        return [row.locator("th, td").all_inner_texts()[:5] for row in rows.all()]

    every = ["all", "3", "9", "3", "400"]
    none = ["1", "0", "0", "–"]
    of_doses = [["9 µM", "1", "6", "6", "400"], ["10 µM", "1", "3", "3", "400"]]
    assert texts() == [every, ["(unknown)", *none], *of_doses]
    page.get_by_label("by", exact=True).select_option("folder")
    assert texts() == [every, ["a", "2", "9", "4.5", "400"], [NASTY.rpartition("/")[0], *none]]
    page.get_by_label("of", exact=True).select_option("score")
    assert rows.nth(0).locator("td").nth(3).inner_text() == "0.8"
    assert rows.nth(0).locator("svg").get_attribute("aria-label") == "Histogram of score, all"
    bins = page.evaluate("binned([0, 1, 2, 3, 99], [0, 4])")
    assert sum(bins) == 5 and bins[-1] == 1 and bins[12] == 1


def test_the_smallest_of_too_many_groups_are_one(page):
    found = page.evaluate(
        """() => {
            const image = { areas: [1], size: [1, 1], pixelArea: 1 };
            const wells = Array.from({ length: MAX_GROUPS + 2 }, (_, i) =>
                ({ ...image, scores: i % 2 || i > 5 ? [1] : [], groups: { well: `A${i}` } }));
            return groups(wells, "well").map(([label, members]) => [label, members.length]);
        }"""
    )
    assert found[:4] == [["all", 386], ["A1", 1], ["A3", 1], ["A5", 1]]
    assert found[-1] == ["3 others", 3]
    assert len(found) == 1 + 384


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_fits_narrow_and_wide_screens_in_light_and_dark(browser, report_file, scheme, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(report_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    style = "getComputedStyle(document.body)"
    red = r"parseInt(/\d+/.exec({}.{})[0])"
    ground = page.evaluate(red.format(style, "backgroundColor"))
    ink = page.evaluate(red.format(style, "color"))
    assert (ground > 200 and ink < 60) if scheme == "light" else (ground < 60 and ink > 200)
    page.close()


def test_on_paper_are_all_images_and_the_whole_table(browser, report_file):
    page = browser.new_page(viewport={"width": 400, "height": 100})
    page.goto(report_file.as_uri())
    filled = page.locator("#gallery img[src]")
    assert filled.count() == 0
    assert page.pdf().startswith(b"%PDF")
    assert filled.count() == page.locator("#gallery svg path.outline.dark").count() == 3
    page.emulate_media(media="print")
    table = "document.getElementById('images').parentElement"
    assert page.evaluate(f"getComputedStyle({table}).maxHeight") == "none"
    page.close()


def test_outlines_are_drawn_in_two_tones_on_the_image(page, tmp_path):
    page.locator("#viewer").screenshot(path=tmp_path / "viewer.png")
    with Image.open(tmp_path / "viewer.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (np.abs(pixels - (150, 90, 190)).max(axis=2) < 12).mean() > 0.5
    assert (np.abs(pixels - (255, 215, 0)).max(axis=2) < 40).sum() > 50
    assert (pixels.max(axis=2) < 100).sum() > 100
