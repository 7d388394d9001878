"""What the user knows of each image, such as its well and treatment, as columns of the tables.

The names of a screen's images hold a part of it (``plate1/B03_s2.tif``), a plate map holds the rest
(well B03 was treated with nocodazole). --metadata takes both: a regular expression, whose named
parts become columns, and a csv, which is joined to the columns that are known before it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nucdet.errors import InputError
from nucdet.export import Metadata
from nucdet.files import printable, table_text
from nucdet.image_names import compiled, composed, names_of, stem_of

if TYPE_CHECKING:
    import pandas as pd

# the column by which a csv names images
_IMAGE = "image"
# separators of a csv; in countries with a decimal comma, spreadsheet programs write semicolons
_SEPARATORS = ",;\t"
# Names that columns of nuclei.csv and summary.csv have, or may have.
_TAKEN = re.compile(
    r"image|id|time|z|z_first|z_last|sections|class|score|touches_border|circularity|eccentricity"
    r"|solidity|width|height|nuclei|coverage|mean_score|familiarity|warning|error|volume_.*"
    r"|.*_(px|um|um2|deg)|.*_intensity(_.*)?"
)


def read_metadata(sources: Sequence[str], file_names: Sequence[str]) -> Metadata:
    """Read what is known of each image.

    Args:
        sources: csv files (UTF-8, with a header), and regular expressions with named parts, which
            are searched for in file names without their extension. A csv has a column ``image``
            (names with or without folders and extension), or columns of the sources before it, or
            both; all of these must fit.
        file_names: of the images, with "/" between folders.

    Returns:
        The columns in the order of the sources. A part that did not take part in the match, and
        the columns of a csv without a row for the image, which the screen tells, are "".

    Raises:
        FileNotFoundError: there is no such csv.
        InputError: a regular expression is faulty or does not fit a name; a csv is not one, cannot
            be joined, fits no image, or has two rows for one; a column has the name of another.
    """
    if not sources:
        return {}
    import pandas as pd  # only here, because a prediction starts faster without it

    known = pd.DataFrame(index=pd.Index(file_names))
    for source in sources:
        find = _join if source.lower().endswith(".csv") else _match
        known = known.join(find(source, known))
    return known.to_dict("index")


def _match(source: str, known: pd.DataFrame) -> pd.DataFrame:
    """The named parts of a regular expression in each file name."""
    import pandas as pd

    pattern = compiled(source, f"--metadata {source}: neither a csv nor a regular expression")
    if not pattern.groupindex:
        raise InputError(
            f"--metadata {source}: found no named part; expected one for each column, such as "
            "(?P<well>[A-P][0-9]{2}), or a file that ends in .csv (KEY VALUE pairs go after "
            "another option)"
        )
    _check_names(source, [*pattern.groupindex], known.columns)
    matches = [pattern.search(composed(stem_of(name))) for name in known.index]
    if missed := [name for name, match in zip(known.index, matches, strict=True) if not match]:
        raise InputError(
            f"--metadata {source}: does not fit {len(missed)} of {len(known)} images, "
            f"{missed[0]} for one; expected a regular expression that fits every name, or another "
            "--input"
        )
    return pd.DataFrame([match.groupdict("") for match in matches if match], known.index)


def _join(source: str, known: pd.DataFrame) -> pd.DataFrame:
    """The columns that a csv adds, for each image."""
    table = _read_csv(source)
    added = list(table.columns)
    keys = [name for name in [_IMAGE, *known.columns] if name in added]
    for name in keys:
        added.remove(name)
    if not keys or not added:
        expected = " or ".join([_IMAGE, *known.columns])
        raise InputError(
            f"--metadata {source}: found the columns {', '.join(table.columns)}; expected "
            f"{expected}, to tell which images a row is for, and at least one more"
        )
    _check_names(source, added, known.columns)
    table = table.drop_duplicates()
    if (repeated := table.duplicated(keys)).any():
        row = table[repeated].iloc[0]
        raise InputError(
            f"--metadata {source}: two rows with different values for {_named(row[keys])}; "
            "expected one"
        )
    wanted = known.assign(**{_IMAGE: _names_in(table, known)} if _IMAGE in keys else {})[keys]
    found = wanted.merge(table, "left", keys, indicator="fits").set_index(known.index)
    missed = found.index[found.pop("fits") == "left_only"]
    if len(missed) == len(known):
        theirs = f"the first row is for {_named(table.iloc[0][keys])}" if len(table) else "no rows"
        raise InputError(
            f"--metadata {source}: fits none of {len(known)} images; {theirs}, the first image has "
            f"{_named(wanted.iloc[0])}"
        )
    if len(missed):
        count = f"{len(missed)} of {len(known)} images"
        print(f"{printable(source)}: no row for {count}, {missed[0]} for one")
    return found[added].fillna("")


def _read_csv(source: str) -> pd.DataFrame:
    """The cells of a csv as text, without blanks around it."""
    import pandas as pd

    try:
        text = Path(source).read_text(encoding="utf-8-sig").lstrip("\r\n")
        separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
        # without a header, as pandas would rename columns that have the same name, or none
        table = pd.read_csv(
            io.StringIO(text), sep=separator, header=None, dtype=str, na_filter=False
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"--metadata {source}: not a csv of text in UTF-8 ({error}); save it as one"
        ) from None
    table = table.fillna("").map(lambda cell: composed(cell.strip()))
    filled = table.ne("")  # spreadsheet programs add empty rows and columns
    table = table.loc[filled.any(axis=1), filled.any()]
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis=1)


def _names_in(table: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """The name by which a csv calls each image; of images that it does not name the file name."""
    there = set(table[_IMAGE])
    names = ([composed(name), stem_of(composed(name)), *names_of(name)] for name in known.index)
    return [next((name for name in own if name in there), own[0]) for own in names]


def _check_names(source: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Raise InputError if a new column has no name, that of another, or that of a formula."""
    taken = {"", *known}
    for name in names:
        if name in taken or _TAKEN.fullmatch(name) or table_text(name) != name:
            raise InputError(
                f"--metadata {source}: found a column named {name!r}; expected a name that no "
                "other column of the tables has"
            )
        taken.add(name)


def _named(row: pd.Series) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in row.items())
