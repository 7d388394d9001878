"""--metadata: what is known of each image, from file names and tables, in the tables."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from nucdet.errors import InputError
from nucdet.predict.metadata import read_metadata
from nucdet.predict.run import predict_images

WELLS = r"(?P<well>[A-P]\d\d)_s(?P<site>\d)"
IMAGES = ["p1/A01_s1.tif", "p1/A02_s1.ome.tif", "p2/A01_s2.tif"]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a csv, and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="map.csv", encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding)
        return name

    return write


def column(known, name):
    return [known[image][name] for image in IMAGES]


def test_named_parts_of_file_names_and_folders_become_columns():
    known = read_metadata([rf"p(?P<plate>\d)/{WELLS}(?P<extension>\.\w+)?"], IMAGES)
    assert list(known) == IMAGES
    # neither part of the extension .ome.tif is searched
    assert known[IMAGES[1]] == {"plate": "1", "well": "A02", "site": "1", "extension": ""}
    assert column(known, "site") == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("well,dose,note\nA01,-6.5\nC09,1,empty\nA02, 2 µM\n", "utf-8"),
        ("well;dose\nA01;-6.5\nA02;2 µM\nA02;2 µM\n;\n", "utf-8-sig"),
        ("\ndose\twell\t\n-6.5\tA01\t\n2 µM\tA02\t\n\t\t\n", "utf-8"),
    ],
)
def test_a_plate_map_is_joined_by_the_columns_that_it_shares(table, text, encoding):
    known = read_metadata([WELLS, table(text, encoding=encoding)], IMAGES)
    assert list(known[IMAGES[0]])[:3] == ["well", "site", "dose"]
    assert column(known, "dose") == ["-6.5", "2 µM", "-6.5"]


@pytest.mark.parametrize("name", ["p1/A02_s1.ome.tif", "p1/A02_s1", "A02_s1.ome", "A02_s1"])
def test_a_table_names_images_with_or_without_folder_and_extension(table, capsys, name):
    known = read_metadata([table(f"dose,image\n3,{name}\n")], IMAGES)
    assert column(known, "dose") == ["", "3", ""]
    assert "map.csv: no row for 2 of 3 images, p1/A01_s1.tif for one" in capsys.readouterr().out


def test_all_shared_columns_must_fit(table):
    tables = [
        table("well,site,image,who\nA01,1,A01_s1,Ada\nA01,2,A01_s1,Bob\n", "who.csv"),
        table("who,where\nAda,Bonn\n", "where.csv"),
    ]
    known = read_metadata([WELLS, *tables], IMAGES)
    assert column(known, "who") == ["Ada", "", ""]
    assert column(known, "where") == ["Bonn", "", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a csv of text in UTF-8 (No columns to parse from file)"),
        ('well,dose\n"A01,2\n', "not a csv of text in UTF-8 ("),
        ("row,dose\nA,2\n", "found the columns row, dose; expected image or well or site"),
        ("well\nA01\n", "found the columns well; expected image or well or site"),
        ("well,dose\nA1,2\n", "fits none of 3 images; the first row is for well 'A1', the first "
         "image has well 'A01'"),
        ("well,dose\n", "fits none of 3 images; no rows, the first image has well 'A01'"),
        ("well,dose\nA01,2\nA01,3\n", "two rows with different values for well 'A01'"),
        ("well,area_px\nA01,2\n", "found a column named 'area_px'"),
        ("well,=1\nA01,2\n", "found a column named '=1'"),
        ("well,dose,\nA01,2,3\n", "found a column named ''"),
        ("well,dose,dose\nA01,2,3\n", "found a column named 'dose'"),
        ("well,well,dose\nA01,A01,3\n", "found a column named 'well'"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_joined_are_refused(table, text, message):
    name = table(text)
    with pytest.raises(InputError, match=rf"^--metadata map\.csv: {re.escape(message)}"):
        read_metadata([WELLS, name], IMAGES)


def test_a_table_that_is_no_text_in_utf_8_is_refused(table):
    name = table("well,dose\nA01,2 µM\n", encoding="cp1252")
    with pytest.raises(InputError, match=r"map\.csv: not a csv of text in UTF-8 .*save it as one"):
        read_metadata([WELLS, name], IMAGES)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?P<well>", "neither a csv nor a regular expression (missing ), unterminated"),
        (r"([A-P]\d\d)", "found no named part; expected one for each column"),
        (r"(?P<well>A02)", "does not fit 2 of 3 images, p1/A01_s1.tif for one"),
        (r"(?P<id>0)", "found a column named 'id'"),
        (r"(?P<well>A)(?P<image>0)", "found a column named 'image'"),
    ],
)
def test_patterns_that_give_no_columns_are_refused(pattern, message):
    with pytest.raises(InputError, match=re.escape(f"--metadata {pattern}: {message}")):
        read_metadata([pattern], IMAGES)


def test_a_column_is_given_once():
    with pytest.raises(InputError, match="found a column named 'well'"):
        read_metadata([WELLS, r"(?P<well>A)"], IMAGES)


def test_the_tables_have_its_columns_and_it_has_none_of_theirs(
    job, images, table, bright_is_nucleus
):
    (images / "c.tif").write_bytes(b"")
    names = [file.file_name for file in job().files]
    known = read_metadata([r"(?P<letter>\w)$", table("letter,dose\nd,=1\na,-2\n")], names)
    # a pixel size changes names of columns
    predict_images(replace(job("px", save=("csv",)), metadata=known), bright_is_nucleus())
    predict_images(replace(job(save=("csv",), pixel_size=2), metadata=known), bright_is_nucleus())
    nuclei, summary = (pd.read_csv(job().output / f"{name}.csv") for name in ("nuclei", "summary"))
    assert nuclei.columns[:4].tolist() == ["image", "letter", "dose", "id"]
    assert nuclei["letter"].tolist() == ["a"] * 3 + ["d"] * 2
    assert nuclei["dose"].tolist() == ["-2"] * 3 + ["'=1"] * 2
    assert summary["letter"].tolist() == ["a", "b", "c", "d"]
    assert summary["error"].notna().tolist() == [False, False, True, False]
    taken = {*nuclei, *summary, *pd.read_csv(job("px").output / "nuclei.csv")} - {"letter", "dose"}
    for name in taken:
        with pytest.raises(InputError, match=f"expected image or letter|named '{name}'"):
            read_metadata([r"(?P<letter>\w)$", table(f"letter,{name}\na,2\n")], names)
