"""The tables of benchmarks/published_systems.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import markdown_tables
import numpy as np
import pandas as pd

from nucdet.tuning.trials import DONE

METRIC = "kaggle/mAP"
# columns of the table of scores, and of the table of the losses of CropRCNN's parts
SCORES = {
    "mAP": METRIC,
    "at IoU 0.5": "kaggle/AP50",
    "fluorescence": "kaggle/mAP-fluorescence",
    "tinted": "kaggle/mAP-stained_tinted",
    "light": "kaggle/mAP-stained_light",
    "bright": "kaggle/mAP-bright_field",
}
LOSSES = {
    "objectness": "subsystems/rpn_objectness",
    "box": "subsystems/rpn_box",
    "filter": "subsystems/filter",
    "mask": "subsystems/mask",
    "recall of 500": "subsystems/recall_500",
}


def costs(folder: Path) -> dict[str, float]:
    """Iterations and CPU minutes of a training, from its log; 0 for an evaluation."""
    path = folder / "losses.csv"
    if not path.is_file():
        return {"iterations": 0, "minutes": 0.0}
    log = pd.read_csv(path)
    return {"iterations": len(log), "minutes": log["cpu_time"].sum() / 60}


def markdown(rows: Iterable[Any], lines: Sequence[dict[str, Any]]) -> str:
    """A table of scores with a line per row, and a table of the losses of CropRCNN's parts.

    Args:
        rows: objects with ``name``, ``kind`` and ``published``.
        lines: one dict per training, with "row", "state" and the scores by name.
    """
    rows = list(rows)
    text = _table(rows, lines, SCORES, 1)
    if any(name in line for line in lines for name in LOSSES.values()):
        text += "\n" + _table(rows, lines, LOSSES, 4)
    return text


def _table(
    rows: Iterable[Any], lines: Sequence[dict[str, Any]], shown: Mapping[str, str], digits: int
) -> str:
    """Means over a row's trainings (of a search, the best), each training's first value, costs."""
    header = ["row", "published", *shown, "each training", "iterations", "minutes"]
    cells = []
    first = next(iter(shown.values()))
    for row in rows:
        mine = pd.DataFrame([line for line in lines if line["row"] == row.name])
        if first not in mine or mine[first].isna().all():
            continue
        chosen = mine.loc[[mine[first].idxmax()]] if row.kind == "search" else mine
        values = [_number(chosen.get(name), digits) for name in shown.values()]
        each = ", ".join(f"{value:.{digits}f}" for value in mine[first].dropna())
        waiting = (mine["state"] != DONE).sum()
        each += f" ({waiting} not finished)" if waiting else ""
        effort = [_number(mine.get(name), 0) for name in ("iterations", "minutes")]
        cells.append([row.name, row.published, *values, each, *effort])
    return markdown_tables.table(header, cells)


def _number(column: pd.Series | None, digits: int) -> str:
    value = np.nan if column is None else column.mean()
    return "–" if np.isnan(value) else f"{value:,.{digits}f}"
