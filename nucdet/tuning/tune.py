"""Tunes thresholds, as nucdet-tune does: tries a grid and writes its scores and the best config."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from rich import box
from rich.console import Console
from rich.table import Table

from nucdet.config import load_config
from nucdet.config_checks import check_value
from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.files import open_atomically, write_atomically
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.tuning.outlines import OffsetScore, best_offset, score_offsets
from nucdet.tuning.thresholds import CachedPredictions, Grid, Point

_Path = str | os.PathLike[str]
_COLUMNS = (
    "varied",
    "mask_threshold",
    "score_threshold",
    "min_area",
    "min_relative_area",
    "min_relative_score",
    "priority",
    "mAP",
)
_SHOWN = 5
# Pixels. Distances between pixels are 1, √2, 2, √5, …; offsets between two of these act alike.
OUTLINE_OFFSETS = (-2.0, -1.5, -1.0, 0.0, 1.0, 1.5, 2.0)


def tune_thresholds(
    ground_truth: _Path,
    predictions: Sequence[_Path],
    output_dir: _Path,
    grid: Grid,
    mask_thresholds: Sequence[float] | None = None,
    config_file: _Path | None = None,
    outline_offsets: Sequence[float] = OUTLINE_OFFSETS,
) -> Point:
    """Find the best point of a grid, then the best outline offset; print and write all scores.

    The files are ``thresholds.csv``, ``outline_offsets.csv`` and ``best.yaml``.

    Args:
        ground_truth: COCO JSON.
        predictions: files with the raw masks of the network: predicted with a low score threshold
            and without overlap elimination. One file, or one for each of ``mask_thresholds``.
        output_dir: folder for the files.
        grid: values to try. With several classes, values for each class are tried afterwards,
            starting from the best point.
        mask_thresholds: the MASK_THRESH that each file of ``predictions`` was made with, which
            binary masks do not show.
        config_file: the config that ``best.yaml`` builds on (``_BASE_``).
        outline_offsets: values of TEST.OUTLINE_OFFSET to try, in pixels.

    Raises:
        FileNotFoundError, InputError: a mistake in the files or values.
    """
    made_with = _mask_thresholds(predictions, mask_thresholds)
    for offset in outline_offsets:
        check_value("TEST.OUTLINE_OFFSET", offset)
    if config_file is not None and not Path(config_file).is_file():
        raise FileNotFoundError(f"{config_file}: no such config file")
    truth = GroundTruth(ground_truth)
    if not truth.images:
        raise InputError(f"{ground_truth}: found no images; expected at least one to evaluate")

    tried: list[Point] = []
    scored: dict[float | None, tuple[_Path, bool]] = {}
    for file, mask_threshold in zip(predictions, made_with, strict=True):
        cached = CachedPredictions(truth, file)
        points = _scored(cached, _usable(grid, cached, file))
        tried += [replace(point, mask_threshold=mask_threshold) for point in points]
        scored[mask_threshold] = file, cached.has_scores
    best = _best(tried)
    folder = Path(output_dir)
    _write_csv(tried, folder / "thresholds.csv")
    file, has_scores = scored[best.mask_threshold]
    content = _content(best, max(len(truth.categories), 1), has_scores)
    elimination = OverlapElimination(_config_of(content))
    offsets = score_offsets(truth, file, elimination, outline_offsets)
    _write_offsets(offsets, folder / "outline_offsets.csv")
    content["TEST"]["OUTLINE_OFFSET"] = best_offset(offsets).offset
    _write_yaml(content, folder / "best.yaml", config_file)
    Console().print(_table(tried))
    Console().print(_offset_table(offsets))
    print(f"{len(tried)} points in {folder / 'thresholds.csv'}; best.yaml beside it")
    return best


def _mask_thresholds(
    predictions: Sequence[_Path], mask_thresholds: Sequence[float] | None
) -> list[float | None]:
    """The mask threshold of each file, None if it is unknown."""
    if mask_thresholds is None and len(predictions) == 1:
        return [None]
    found = len(mask_thresholds or ())
    if found != len(predictions):
        raise InputError(
            f"found {len(predictions)} files of predictions and {found} mask thresholds; give "
            "--mask-thresholds with one for each file, or a single file"
        )
    for threshold in mask_thresholds:
        check_value("MODEL.ROI_MASK_HEAD.MASK_THRESH", threshold)
    return list(mask_thresholds)


def _scored(cached: CachedPredictions, grid: Grid) -> list[Point]:
    """The points of the grid and, with several classes, those with values for each class."""
    points = cached.score_grid(grid)
    if len(cached.class_names) > 1 and cached.has_scores:
        points += cached.score_classes(grid, _best(points))
    return points


def _best(points: Sequence[Point]) -> Point:
    """The point with the highest score; among equals the first, with the lowest thresholds."""
    return max(points, key=lambda point: point.score)


def _usable(grid: Grid, cached: CachedPredictions, file: _Path) -> Grid:
    """The grid without values that cannot be tuned on these predictions; prints the reason."""
    if not cached.has_scores:
        print(f"{file}: no scores in it, so thresholds and rules by score are left out")
        return replace(
            grid, score_thresholds=(0.0,), min_relative_scores=(0.0,), priorities=("area",)
        )
    lowest = cached.lowest_score
    if math.isfinite(lowest):
        # of the thresholds that keep all these masks, the highest keeps the fewest of those that
        # are not in the file, which might be wrong
        floor = max((value for value in grid.score_thresholds if value < lowest), default=0.0)
        thresholds = tuple(value for value in grid.score_thresholds if value >= floor)
        grid = replace(grid, score_thresholds=thresholds)
        if lowest > 0.25:
            print(
                f"{file}: the lowest score is {lowest:.2f}, lower thresholds are moot; predict "
                "with MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.05 and "
                "TEST.OVERLAP_ELIMINATION.ENABLED False for more (of a model that "
                "classifies pixels, hardly any are below 0.5)"
            )
    if not cached.overlap and len(grid.priorities) > 1:
        print(
            f"{file}: no two masks overlap, so there is no overlap rule to choose; predict with "
            "TEST.OVERLAP_ELIMINATION.ENABLED False for one"
        )
        return replace(grid, priorities=grid.priorities[:1])
    return grid


def _row(point: Point) -> list[str]:
    return [
        point.varied,
        "" if point.mask_threshold is None else f"{point.mask_threshold:g}",
        " ".join(f"{value:g}" for value in point.score_thresholds),
        " ".join(map(str, point.min_areas)),
        f"{point.min_relative_area:g}",
        f"{point.min_relative_score:g}",
        point.priority,
        f"{point.score:.4f}",
    ]


def _write_csv(points: Sequence[Point], path: Path) -> None:
    with open_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(map(_row, points))


def _write_offsets(offsets: Sequence[OffsetScore], path: Path) -> None:
    with open_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow(("outline_offset", "mAP", "outline_bias"))
        writer.writerows([f"{value:.4f}" for value in astuple(entry)] for entry in offsets)


def _content(best: Point, class_count: int, has_scores: bool) -> dict[str, Any]:
    """Config keys that reproduce the best point; rules that were not tried stay at the default."""
    common = len(best.min_areas) == 1
    usual = load_config().TEST.OVERLAP_ELIMINATION.items()
    overlap = {key: value for key, value in usual if not key.startswith("CLASS_")} | {
        "PRIORITY": best.priority,
        "MIN_AREA": best.min_areas[0] if common else 0,
        "MIN_RELATIVE_AREA": best.min_relative_area,
        "MIN_RELATIVE_SCORE": best.min_relative_score,
        "CLASS_MIN_AREAS": [] if common else list(best.min_areas),
    }
    content: dict[str, Any] = {"TEST": {"OVERLAP_ELIMINATION": overlap}}
    if has_scores:
        thresholds = best.score_thresholds * (class_count if len(best.score_thresholds) == 1 else 1)
        overlap["CLASS_SCORE_THRESHOLDS"] = list(thresholds)
        content["MODEL"] = {"ROI_HEADS": {"SCORE_THRESH_TEST": min(thresholds)}}
    if best.mask_threshold is not None:
        content.setdefault("MODEL", {})["ROI_MASK_HEAD"] = {"MASK_THRESH": best.mask_threshold}
    return content


def _config_of(content: dict[str, Any]) -> CfgNode:
    """The default config with these keys."""
    cfg = load_config()
    cfg.merge_from_other_cfg(CfgNode(content))
    return cfg


def _write_yaml(content: dict[str, Any], path: Path, config_file: _Path | None) -> None:
    if config_file is not None:
        content["_BASE_"] = os.path.relpath(config_file, path.parent)
    with write_atomically(path) as temporary:
        temporary.write_text(CfgNode(content).dump(), encoding="utf-8")


def _offset_table(offsets: Sequence[OffsetScore]) -> Table:
    table = Table(title="Outlines moved, at the best point", box=box.SIMPLE)
    for column in ("pixels", "mAP", "bias of the radius, pixels"):
        table.add_column(column, justify="right")
    for entry in offsets:
        table.add_row(f"{entry.offset:g}", f"{entry.score:.4f}", f"{entry.bias:.2f}")
    return table


def _table(points: Sequence[Point]) -> Table:
    """The best points, and the point that keeps all masks, if that was tried."""
    table = Table(title=f"Kaggle mAP of {len(points)} points", box=box.SIMPLE)
    for column in ("class", "mask ≥", "score >", "area ≥", "share ≥", "sure ≥", "rule", "mAP"):
        table.add_column(column, justify="right")
    for point in sorted(points, key=lambda point: -point.score)[:_SHOWN]:
        table.add_row(*_row(point))
    lowest = min((min(point.score_thresholds) for point in points), default=0.0)
    for point in points:
        rules = (*point.min_areas, point.min_relative_area, point.min_relative_score)
        if max(point.score_thresholds) == lowest and not any(rules):
            table.add_section()
            table.add_row(*_row(point))
            break
    return table
