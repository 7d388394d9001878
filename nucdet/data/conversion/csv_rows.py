"""A csv file with known columns, read row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from nucdet.errors import InputError

# Characters of a field. Python's own limit of 131,072 is less than the run-length code of a large,
# ragged mask, as real solutions hold them.
_LONGEST_FIELD = 1 << 28


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number in the file and content of every row; a field that a row lacks is None.

    Raises:
        InputError: not a csv, or columns are missing.
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
