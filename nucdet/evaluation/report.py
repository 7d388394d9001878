"""Writes the results of an evaluation: tables for the screen and the log, csv and JSON files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from nucdet.evaluation.error_table import MASK_VERDICTS, NUCLEUS_VERDICTS
from nucdet.evaluation.scoring import (
    PERCENTS,
    SIZE_CLASSES,
    ImageResult,
    by_kind,
    sum_errors,
    summarize,
)
from nucdet.files import open_atomically, table_text

PER_IMAGE_COLUMNS = ("id", "kind", "n_true", "n_pred", "matched50", "matched75", "score")
_AT_75 = PERCENTS.index(75)


def result_tables(results: Sequence[ImageResult]) -> list[Table]:
    """Score by threshold, by kind of image (if any), by nucleus size, and the error table."""
    metrics = summarize(results)
    tables = [_threshold_table(results, metrics)]
    if by_kind(results):
        tables.append(_kind_table(results))
    return [*tables, _size_table(results, metrics), _error_table(results)]


def render(tables: Sequence[Table]) -> str:
    """The tables as plain text, for a log."""
    console = Console(file=io.StringIO(), width=80)
    for table in tables:
        console.print(table)
    return console.file.getvalue().rstrip()


def write_per_image(results: Sequence[ImageResult], path: str | os.PathLike[str]) -> None:
    """Write one csv row per image: :data:`PER_IMAGE_COLUMNS`; ``score`` in 0–100.

    ``id`` is the stem of the image's file name; ``matched50`` and ``matched75`` are the numbers of
    matched nuclei at IoU 0.5 and 0.75.
    """
    with open_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow(PER_IMAGE_COLUMNS)
        for r in results:
            counts = (r.n_true, r.n_pred, r.tp[0], r.tp[_AT_75])
            names = map(table_text, (r.image.stem, r.image.kind))
            writer.writerow([*names, *counts, f"{100 * r.score:.4f}"])


def as_json(results: Sequence[ImageResult]) -> dict[str, Any]:
    """``{"kaggle": metrics in 0–100, "images": number of images, "errors": counts}``."""
    metrics = {k: v for k, v in summarize(results).items() if not k.startswith("errors-")}
    return {"kaggle": metrics, "images": len(results), "errors": sum_errors(results)}


def new_table(title: str, *columns: str) -> Table:
    """An empty table in the style of all others: names in the first column, then numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=0)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _threshold_table(results: Sequence[ImageResult], metrics: dict[str, float]) -> Table:
    title = f"Kaggle score (mAP) {metrics['mAP']:.2f} over {len(results)} images"
    if not any(result.n_true for result in results):
        title += ", none of which has a nucleus in the ground truth (converted without labels?)"
    table = new_table(title, "IoU >", *(f"0.{p}" for p in PERCENTS))
    for prefix in ("AP", "precision-", "recall-", "F1-"):
        table.add_row(prefix.rstrip("-"), *(f"{metrics[f'{prefix}{p}']:.1f}" for p in PERCENTS))
    return table


def _kind_table(results: Sequence[ImageResult]) -> Table:
    table = new_table("By kind of image", "kind", "images", "nuclei", "mAP")
    for kind, members in by_kind(results).items():
        nuclei = sum(r.n_true for r in members)
        score = 100 * sum(r.score for r in members) / len(members)
        table.add_row(kind, str(len(members)), str(nuclei), f"{score:.2f}")
    return table


def _size_table(results: Sequence[ImageResult], metrics: dict[str, float]) -> Table:
    columns = ("pixels", "nuclei", "recall at 0.50", "mean recall")
    table = new_table("By size of the nucleus", "size", *columns)
    limits = [*SIZE_CLASSES.values(), None]
    for i, (name, number) in enumerate(
        zip(SIZE_CLASSES, sum(r.size_true for r in results), strict=True)
    ):
        pixels = f"{limits[i]}-{limits[i + 1] - 1}" if limits[i + 1] else f"{limits[i]} and more"
        values = (metrics.get(f"{key}-{name}") for key in ("recall50", "AR"))
        table.add_row(
            name, pixels, str(number), *("-" if v is None else f"{v:.1f}" for v in values)
        )
    return table


def _error_table(results: Sequence[ImageResult]) -> Table:
    errors = sum_errors(results)
    table = new_table("Errors (IoU 0.5)", "", "nuclei", "masks")
    rows = {
        "found": ("found", "found"),
        "merged (one mask over several nuclei)": ("merged_nuclei", "merged"),
        "split (several masks in one nucleus)": ("split", "split_masks"),
        "badly outlined (IoU 0.1 to 0.5)": ("badly_outlined", "badly_outlined"),
        "missed": ("missed", None),
        "false": (None, "false"),
    }
    for label, keys in rows.items():
        table.add_row(label, *("" if key is None else str(errors[key]) for key in keys))
    totals = (sum(errors[v] for v in NUCLEUS_VERDICTS), sum(errors[v] for v in MASK_VERDICTS))
    table.add_section()
    table.add_row("all", *map(str, totals))
    return table
