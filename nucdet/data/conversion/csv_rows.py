"""Reads a csv file with known columns row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from nucdet.errors import InputError

# Limit of characters per field. Python's own limit of 131,072 is too small for the run-length code
# of a large, ragged mask, which occurs in real solutions.
_LONGEST_FIELD = 1 << 28


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and content of every row; fields that a row lacks are None.

    Raises:
        InputError: it is not a csv, or columns are missing.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path}: no column {', '.join(missing)}; found "
                    f"{', '.join(reader.fieldnames or ['nothing'])}; expected {', '.join(columns)}"
                )
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a csv text file ({error})") from None
