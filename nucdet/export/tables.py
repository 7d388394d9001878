"""Tables: measurements of an image's nuclei, a line an image, Kaggle's csv."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from nucdet.evaluation.submission import SUBMISSION_FORMATS
from nucdet.export.record import ImageRecord
from nucdet.files import table_text, write_atomically

if TYPE_CHECKING:
    import pandas as pd

_Path = str | os.PathLike[str]


def write_table(path: _Path, table: pd.DataFrame) -> None:
    """Write a csv with a header, six significant digits, a dot as decimal sign, empty for NaN.

    Text that a spreadsheet program would compute is kept from it: :func:`table_text`.

    Raises:
        OSError: the file cannot be written.
    """
    words = table.select_dtypes(["object", "string"])
    table = table.assign(
        **words.map(lambda cell: table_text(cell) if isinstance(cell, str) else cell)
    )
    with write_atomically(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def write_nuclei(path: _Path, tables: Mapping[str, _Path]) -> None:
    """Write the rows of several tables as one, after a column ``image``.

    What one image has no column for, such as a channel that only others have, stays empty.

    Args:
        path: of the csv.
        tables: those of :func:`write_table` by the file name of their image.

    Raises:
        OSError: a table cannot be read, the file cannot be written.
    """
    columns: dict[str, None] = {}
    for table in tables.values():
        with Path(table).open(newline="", encoding="utf-8") as file:
            columns |= dict.fromkeys(next(csv.reader(file), []))
    with (
        write_atomically(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as target,
    ):
        writer = csv.DictWriter(target, ["image", *columns], lineterminator="\n")
        writer.writeheader()
        for name, table in tables.items():
            with Path(table).open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                writer.writerows({"image": table_text(name), **row} for row in rows)


def summary_table(
    records: Iterable[ImageRecord],
    failures: Mapping[str, str] | None = None,
    pixel_size: float | None = None,
) -> pd.DataFrame:
    """One row an image, sorted by file name, also for those that failed.

    Args:
        records: what was predicted.
        failures: why not, by file name.
        pixel_size: µm; areas are in square pixels without it.

    Returns:
        Columns ``image``, ``width``, ``height`` (pixels), ``nuclei``, ``median_area_*``,
        ``mean_area_*``, ``std_area_*`` (population), ``coverage`` (share of the pixels that belong
        to a nucleus), ``mean_score``, ``familiarity`` and ``warning`` (of the image, see
        :class:`ImageRecord`), ``error`` (empty for a success). Statistics of no nuclei are NaN.
    """
    import pandas as pd  # when it is needed, as a prediction starts without it

    unit, factor = ("px", 1.0) if pixel_size is None else ("um2", pixel_size**2)
    rows = []
    for record in records:
        areas = np.array(record.areas) * factor
        has_nuclei = len(areas) > 0
        rows.append(
            {
                "image": record.file_name,
                "width": record.width,
                "height": record.height,
                "nuclei": len(areas),
                f"median_area_{unit}": np.median(areas) if has_nuclei else np.nan,
                f"mean_area_{unit}": areas.mean() if has_nuclei else np.nan,
                f"std_area_{unit}": areas.std() if has_nuclei else np.nan,
                "coverage": sum(record.areas) / (record.width * record.height),
                "mean_score": np.mean(record.scores) if has_nuclei else np.nan,
                "familiarity": np.nan if record.familiarity is None else record.familiarity,
                "warning": record.warning,
                "error": "",
            }
        )
    columns = ["image", "width", "height", "nuclei"]
    columns += [f"{name}_area_{unit}" for name in ("median", "mean", "std")]
    columns += ["coverage", "mean_score", "familiarity", "warning", "error"]
    rows += [{"image": name, "error": error} for name, error in (failures or {}).items()]
    table = pd.DataFrame(rows, columns=columns).sort_values("image", ignore_index=True)
    # whole numbers stay whole beside the gaps of failed images
    return table.astype(dict.fromkeys(("width", "height", "nuclei"), "Int64"))


def write_summary(
    path: _Path,
    records: Iterable[ImageRecord],
    failures: Mapping[str, str] | None = None,
    pixel_size: float | None = None,
) -> None:
    """Write :func:`summary_table` as a csv."""
    write_table(path, summary_table(records, failures, pixel_size))


def write_kaggle(path: _Path, records: Iterable[ImageRecord]) -> None:
    """Write the csv of the 2018 Data Science Bowl: one row a nucleus.

    ``ImageId`` is the image's name without folders, or with them where two would be the same. An
    image without nuclei has one row with an empty code. Masks must not overlap.

    Args:
        path: replaced as a whole.
        records: gone through twice.

    Raises:
        OSError: the file cannot be written.
    """
    layout = SUBMISSION_FORMATS["dsb"]
    shared = Counter(PurePath(record.name).name for record in records)
    with write_atomically(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(layout.columns)
        for record in records:
            codes = layout.encode(record.masks()) or [""]
            image_id = PurePath(record.name).name
            image_id = image_id if shared[image_id] == 1 else record.name
            writer.writerows((image_id, code) for code in codes)
