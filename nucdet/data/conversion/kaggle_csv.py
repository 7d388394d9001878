"""Reads the csv files of DSB2018: Kaggle's solutions (ground truth of test stages) and groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nucdet.data.conversion.csv_rows import read_rows
from nucdet.data.conversion.report import Problem
from nucdet.errors import InputError
from nucdet.image_names import composed

_SOLUTION_COLUMNS = ("ImageId", "EncodedPixels", "Height", "Width")
_GROUP_COLUMNS = ("img_id", "mosaic_idx")


@dataclass
class CsvTruth:
    """The rows of one image: run-length codes, stated sizes (height, width), names of the rows."""

    codes: list[str] = field(default_factory=list)
    sizes: list[tuple[str, str]] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


def read_solution(
    path: Path, known_ids: set[str]
) -> tuple[dict[str, CsvTruth], set[str], list[Problem]]:
    """Read ``stage1_solution.csv`` or ``stage2_solution_final.csv``.

    Args:
        path: a csv with columns ImageId, EncodedPixels, Height, Width and optionally Usage.
        known_ids: the ids of existing images, composed (:func:`nucdet.image_names.composed`).

    Returns:
        The rows of each image, the images that are not scored (Usage ``Ignored``), and problems for
        rows of images that do not exist. Codes are not decoded here.

    Raises:
        InputError: it is not a csv, or columns are missing.
    """
    truth: dict[str, CsvTruth] = {}
    ignored: set[str] = set()
    problems = []
    for line, row in read_rows(path, _SOLUTION_COLUMNS):
        image_id = composed(row["ImageId"] or "")
        if row.get("Usage") == "Ignored":
            ignored.add(image_id)
        elif image_id not in known_ids:
            what = f"names image {image_id!r}, which has no folder"
            problems.append(Problem(f"{path}, line {line}", what, "the row"))
        else:
            of_image = truth.setdefault(image_id, CsvTruth())
            of_image.codes.append(row["EncodedPixels"] or "")
            of_image.sizes.append((row["Height"], row["Width"]))
            of_image.rows.append(f"{path}, line {line}")
    return truth, ignored - set(truth), problems


def read_groups(path: Path) -> dict[str, str]:
    """Read a csv with columns img_id and mosaic_idx: the group of each image, by its composed id.

    Raises:
        InputError: it is not a csv, columns are missing, or an image has no group.
    """
    groups = {}
    for line, row in read_rows(path, _GROUP_COLUMNS):
        if not row["mosaic_idx"]:
            raise InputError(f"{path}, line {line}: empty mosaic_idx; expected a group's number")
        groups[composed(row["img_id"] or "")] = row["mosaic_idx"]
    return groups
