"""Converts Sartorius (Kaggle, sartorius-cell-instance-segmentation) from its csv to COCO JSON.

Expected under the root: ``train.csv`` with one row per cell, and ``train/<id>.png``. Run-length
codes count along the rows from 1. All cells of an image have the same type; overlaps are kept.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

from nucdet.data.cell_types import SARTORIUS_TYPES
from nucdet.data.conversion.coco_json import ImageEntry, annotations_of, write_splits
from nucdet.data.conversion.csv_rows import read_rows
from nucdet.data.conversion.report import IMAGE, ConversionReport, Problem
from nucdet.data.conversion.splits import check_filled, check_split, train_and_val
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError
from nucdet.progress import ProgressBar
from nucdet.structures import CroppedMasks

_COLUMNS = ("id", "annotation", "width", "height", "cell_type", "sample_id")


def convert_sartorius(
    root: str | os.PathLike[str],
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    group_samples: bool = False,
    skip_invalid: bool = False,
) -> dict[str, list[ImageEntry]]:
    """Write ``<root>/annotations/instances_{train,val}.json``, classes as :data:`SARTORIUS_TYPES`.

    The split into train and val is stratified by cell type. Images without a row in the csv have no
    ground truth and are left out.

    Args:
        root: folder with train.csv and train/.
        val_fraction: share of the images that becomes val, more than 0 and less than 1.
        seed: of the split.
        group_samples: images of one sample_id stay together.
        skip_invalid: leave out invalid rows and images instead of failing.

    Returns:
        The images of each split.

    Raises:
        FileNotFoundError: there is no such root, or no train.csv in it.
        InputError: it is not such a csv, rows or files are invalid, a number is out of range, or a
            split would have no image.
    """
    root = Path(root)
    check_split(val_fraction, seed)
    table = root / "train.csv"
    if not table.is_file():
        raise FileNotFoundError(
            f"{table}: not found; expected Kaggle's train.csv and train/<id>.png under {root} "
            "(datasets/README.md)"
        )
    report = ConversionReport(skip_invalid)
    by_image = _read_table(table, report)
    images = []
    for image_id, rows in ProgressBar(by_image.items(), "converting"):
        image = _convert_image(root, image_id, rows, report)
        if image:
            images.append((image, rows[0]["sample_id"] if group_samples else image_id))
    _remark_on_unlabelled(root, by_image, report)
    report.finish()
    if not images:
        raise InputError(f"{table}: no image is left to convert; expected one row for each cell")

    splits = _split(images, val_fraction, seed)
    write_splits(root / "annotations", splits, "Sartorius", SARTORIUS_TYPES)
    return splits


def _read_table(table: Path, report: ConversionReport) -> dict[str, list[dict[str, str]]]:
    """The rows of each image, images sorted by id; rows get the key "where"."""
    by_image: dict[str, list[dict[str, str]]] = defaultdict(list)
    first_line: dict[tuple[str, str], int] = {}
    for line, row in read_rows(table, _COLUMNS):
        row["where"] = f"{table}, line {line}"
        # the csv reader gives None for missing fields of a truncated row
        code = (row["id"], " ".join((row["annotation"] or "").split()))
        first = first_line.setdefault(code, line)
        if first != line:
            what = f"repeats line {first} (same id and annotation), expected each cell once"
            report.add([Problem(row["where"], what, "the row")])
            continue
        by_image[row["id"]].append(row)
    return dict(sorted(by_image.items()))


def _convert_image(
    root: Path, image_id: str, rows: list[dict[str, str]], report: ConversionReport
) -> ImageEntry | None:
    """One image with all of its cells, or None and problems in the report.

    An invalid cell leaves out the whole image: left out alone, it would be trained as background.
    """
    file = root / "train" / f"{image_id}.png"
    try:
        size = read_image(file).shape[:2]
    except FileNotFoundError:
        what = f"{len(rows)} rows name this image, but it is not there"
        report.add([Problem(str(file), what, IMAGE)])
        return None
    except (InputError, OSError) as error:
        report.add([Problem.of_file(file, error)])
        return None
    cell_type = rows[0]["cell_type"]
    wrong = [(row, what) for row in rows if (what := _complaint(row, size, cell_type))]
    masks = [CroppedMasks.empty(size)]
    for row in rows:
        try:
            masks.append(CroppedMasks.from_sartorius_rle([row["annotation"]], size))
        except InputError as error:
            wrong.append((row, f"annotation: {str(error).removeprefix('mask 0: ')}"))
    report.add(Problem(row["where"], what, IMAGE) for row, what in wrong)
    if wrong:
        return None
    annotations = annotations_of(CroppedMasks.cat(masks))
    for annotation in annotations:
        annotation["category_id"] = 1 + SARTORIUS_TYPES.index(cell_type)
    return ImageEntry(file.relative_to(root).as_posix(), *size, cell_type, annotations)


def _complaint(row: dict[str, str], size: tuple[int, int], cell_type: str) -> str | None:
    """What is wrong with a row, apart from its run-length code."""
    if (row["height"], row["width"]) != tuple(map(str, size)):
        return (
            f"states {row['height']}x{row['width']} (height x width), but the image is "
            f"{size[0]}x{size[1]}"
        )
    if row["cell_type"] not in SARTORIUS_TYPES:
        return f"cell_type {row['cell_type']!r}, expected one of {', '.join(SARTORIUS_TYPES)}"
    if row["cell_type"] != cell_type:
        return f"cell_type {row['cell_type']!r}, but the image's first row has {cell_type!r}"
    if not (row["annotation"] or "").strip():
        return "its annotation is empty, expected the pixels of a cell"
    return None


def _split(
    images: list[tuple[ImageEntry, str]], val_fraction: float, seed: int
) -> dict[str, list[ImageEntry]]:
    """Train and val; images with the same group name stay together."""
    groups: dict[str, int] = {}
    numbers = [groups.setdefault(group, len(groups)) for _, group in images]
    entries = [entry for entry, _ in images]
    splits = train_and_val(entries, [p.kind for p in entries], numbers, val_fraction, seed)
    check_filled(splits, len(groups), "choose another --val-fraction")
    return splits


def _remark_on_unlabelled(root: Path, by_image: Container[str], report: ConversionReport) -> None:
    names = sorted(f.stem for f in (root / "train").glob("*.png") if f.stem not in by_image)
    if names:
        report.remark(
            f"{root / 'train'}: {len(names)} images without a row in train.csv, left out: "
            + ", ".join(names)
        )
