"""Writes tables: measurements of nuclei, the summary of all images, and Kaggle's csv."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from nucdet.evaluation.submission import SUBMISSION_FORMATS
from nucdet.export.record import ImageRecord, Metadata
from nucdet.files import open_atomically, table_text, write_atomically

if TYPE_CHECKING:
    import pandas as pd

_Path = str | os.PathLike[str]

# statistics of the areas of an image's nuclei, as the part of a column's name before "_area"
_AREAS = {"median": np.median, "mean": np.mean, "std": np.std}


def write_table(path: _Path, table: pd.DataFrame) -> None:
    """Write a csv (UTF-8) with a header, six significant digits, and empty cells for NaN.

    Text that a spreadsheet program would interpret as a formula is escaped by :func:`table_text`.

    Args:
        path: an existing file is replaced.
        table: numbers and text; the index is left out.

    Raises:
        OSError: the file cannot be written.
    """
    with write_atomically(path) as temporary:
        _to_csv(table, temporary)


def csv_text(table: pd.DataFrame) -> str:
    """The text that :func:`write_table` writes."""
    return str(_to_csv(table, None))


def _to_csv(table: pd.DataFrame, target: Path | None) -> str | None:
    words = table.select_dtypes(["object", "string"])
    table = table.assign(
        **words.map(lambda cell: table_text(cell) if isinstance(cell, str) else cell)
    )
    return table.to_csv(target, index=False, float_format="%.6g", lineterminator="\n")


def read_csv_text(text: str) -> pd.DataFrame:
    """Read the output of :func:`csv_text`; numbers stay rounded and text stays escaped."""
    import pandas as pd

    return pd.read_csv(
        io.StringIO(text), dtype={"class": str}, keep_default_na=False, na_values=[""]
    )


def write_csv_texts(path: _Path, texts: Iterable[str]) -> None:
    """Write several tables with the same columns as one csv.

    Args:
        path: an existing file is replaced.
        texts: from :func:`csv_text`; iterated over once.

    Raises:
        OSError: the file cannot be written.
    """
    with open_atomically(path) as file:
        for number, text in enumerate(texts):
            header, rows = text.split("\n", 1)
            file.write(rows if number else f"{header}\n{rows}")


def write_nuclei(
    path: _Path, tables: Mapping[str, _Path], metadata: Metadata | None = None
) -> None:
    """Merge several csv files into one, with the name of the image in a first column ``image``,
    followed by what is known of the image.

    Columns that an image's table does not have, such as a channel of other images, are left empty.

    Args:
        path: an existing file is replaced.
        tables: for each image's file name, the path of its csv from :func:`write_table`.
        metadata: for each image's file name, the same further columns, with other names than those
            of the csv files; None: none.

    Raises:
        OSError: a table cannot be read, or the file cannot be written.
    """
    known = metadata or {}
    columns = dict.fromkeys(_names(known))
    for table in tables.values():
        with Path(table).open(newline="", encoding="utf-8") as file:
            columns |= dict.fromkeys(next(csv.reader(file), []))
    with open_atomically(path) as target:
        writer = csv.DictWriter(target, ["image", *columns], lineterminator="\n")
        writer.writeheader()
        for name, table in tables.items():
            own = {"image": name, **known.get(name, {})}
            own = {column: table_text(text) for column, text in own.items()}
            with Path(table).open(newline="", encoding="utf-8") as file:
                writer.writerows(own | row for row in csv.DictReader(file))


def write_summary(
    path: _Path,
    records: Iterable[ImageRecord],
    failures: Mapping[str, str] | None = None,
    metadata: Metadata | None = None,
) -> None:
    """Write a csv with one row per image or plane, including those that failed, by file name.

    Columns ``image`` (the file name), those of the metadata, ``time`` and ``z`` (of the plane, from
    0; only if there are stacks), ``width``, ``height`` (pixels), ``nuclei``, ``median_area_*``,
    ``mean_area_*``, ``std_area_*`` (population standard deviation), ``coverage`` (share of the
    pixels that belong to a nucleus), ``mean_score``, ``familiarity`` and ``warning`` (of the image,
    see :class:`ImageRecord`), ``error`` (empty if it was predicted). Areas are in µm² (``*_um2``)
    if the pixel size is known, which the column ``pixel_size_um`` contains, else in pixels
    (``*_px``); if only some files have a pixel size, there are both columns, one of which is empty.
    Statistics of images without nuclei are empty.

    Args:
        path: an existing file is replaced.
        records: the predicted images; iterated over once.
        failures: the reason for each file that could not be predicted, by file name.
        metadata: see :func:`write_nuclei`.

    Raises:
        OSError: the file cannot be written.
    """
    import pandas as pd  # only here, because a prediction starts faster without it

    rows, has_planes = [], False
    units: set[float | None] = set()
    for record in records:
        has_planes |= bool(record.axes)
        units.add(record.pixel_size)
        rows.append(_summary_row(record))
    metadata = metadata or {}
    columns = ["image", *_names(metadata), *(("time", "z") if has_planes else ())]
    columns += ["width", "height", "nuclei"]
    known = units - {None}
    names = [*(["px"] if None in units or not known else []), *(["um2"] if known else [])]
    columns += ["pixel_size_um"] if known else []
    columns += [f"{name}_area_{unit}" for unit in names for name in _AREAS]
    columns += ["coverage", "mean_score", "familiarity", "warning", "error"]
    rows += [{"image": name, "error": error} for name, error in (failures or {}).items()]
    rows = [row | dict(metadata.get(str(row["image"]), {})) for row in rows]
    table = pd.DataFrame(rows, columns=columns)
    table = table.sort_values("image", ignore_index=True, kind="stable")
    # a nullable type, because failed images have no values
    whole = ("width", "height", "nuclei", *(("time",) if has_planes else ()))
    write_table(path, table.astype(dict.fromkeys(whole, "Int64")))


def _names(metadata: Metadata) -> list[str]:
    """The names of the columns, which are the same for all images."""
    return [*next(iter(metadata.values()), {})]


def _summary_row(record: ImageRecord) -> dict[str, object]:
    unit, factor = ("px", 1.0) if record.pixel_size is None else ("um2", record.pixel_size**2)
    areas = np.array(record.areas) * factor
    has_nuclei = len(areas) > 0
    row = {
        "image": record.file_name,
        "time": record.time,
        "z": record.z,
        "width": record.width,
        "height": record.height,
        "nuclei": len(areas),
        "pixel_size_um": np.nan if record.pixel_size is None else record.pixel_size,
        "coverage": sum(record.areas) / (record.width * record.height),
        "mean_score": np.mean(record.scores) if has_nuclei else np.nan,
        "familiarity": np.nan if record.familiarity is None else record.familiarity,
        "warning": record.warning,
        "error": "",
    }
    areas_of = {f"{name}_area_{unit}": of(areas) for name, of in _AREAS.items() if has_nuclei}
    return row | areas_of


def write_kaggle(path: _Path, records: Iterable[ImageRecord]) -> None:
    """Write the csv of the 2018 Data Science Bowl: one row per nucleus.

    Format: https://www.kaggle.com/c/data-science-bowl-2018, page "Evaluation". ``ImageId`` is the
    image's name without folders (with them if two images have the same name), followed by the plane
    of a stack (``name_t0000_z0003``). An image without nuclei has one row with an empty code. The
    masks must not overlap, which is not checked.

    Args:
        path: an existing file is replaced.
        records: iterated over twice.

    Raises:
        OSError: the file cannot be written.
    """
    layout = SUBMISSION_FORMATS["dsb"]
    names = {record.name for record in records}
    shared = Counter(PurePath(name).name for name in names)
    with open_atomically(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(layout.columns)
        for record in records:
            codes = layout.encode(record.masks()) or [""]
            image_id = PurePath(record.name).name
            image_id = image_id if shared[image_id] == 1 else record.name
            image_id = "_".join(filter(None, [image_id, record.plane_name]))
            writer.writerows((image_id, code) for code in codes)
