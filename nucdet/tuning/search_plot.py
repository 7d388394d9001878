"""The picture of a search: a metric against what was varied."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from numbers import Real

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MOST_LINES = 8  # more are a tangle
_MOST_BARS = 30
_LOG_FROM = 30  # ratio of the largest to the smallest value of a grid


def plot_search(
    table: pd.DataFrame,
    axes: Sequence[str],
    metric: str,
    logarithmic: Collection[str] = (),
    joined: bool = True,
) -> Figure:
    """One number varied: the metric against it. Two: lines, or coloured points. Else: a ranking.

    Args:
        table: a row a setting: a column for each axis, ``mean`` and ``sd``, which may be NaN.
        axes: what was varied.
        metric: name of what is plotted.
        logarithmic: axes that were drawn log-uniformly.
        joined: whether the values form a grid, so that lines between them mean something.
    """
    table = table[table["mean"].notna()]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    panel = figure.subplots()
    numbers = [axis for axis in axes if _is_number(table[axis])]
    log = {a for a in numbers if a in logarithmic or (joined and _spans_decades(table[a]))}
    x = max(numbers, key=lambda axis: table[axis].nunique(), default=None)
    others = [axis for axis in axes if axis != x]
    if x and not others:
        _draw_line(panel, table, x, joined)
        _label(panel, x, metric, log)
    elif x and joined and len(others) == 1 and table[others[0]].map(str).nunique() <= _MOST_LINES:
        for value, rows in table.groupby(table[others[0]].map(str), sort=False):
            _draw_line(panel, rows, x, joined, label=value)
        panel.legend(title=others[0])
        _label(panel, x, metric, log)
    elif len(numbers) == len(axes) == 2:
        points = panel.scatter(table[axes[0]], table[axes[1]], c=table["mean"], s=60)
        figure.colorbar(points, label=metric)
        _label(panel, *axes, log)
    else:
        _draw_ranking(panel, table, axes)
        panel.set_xlabel(metric)
    return figure


def _is_number(column: pd.Series) -> bool:
    return all(isinstance(v, Real) and not isinstance(v, bool) for v in column.tolist())


def _spans_decades(column: pd.Series) -> bool:
    return column.min() > 0 and column.max() / column.min() >= _LOG_FROM


def _draw_line(
    panel: Axes, rows: pd.DataFrame, x: str, joined: bool, label: str | None = None
) -> None:
    rows = rows.sort_values(x)
    style = "o-" if joined else "o"
    sd = rows["sd"] if rows["sd"].notna().any() else None
    panel.errorbar(rows[x], rows["mean"], yerr=sd, fmt=style, capsize=3, label=label)


def _draw_ranking(panel: Axes, table: pd.DataFrame, axes: Sequence[str]) -> None:
    best = table.sort_values("mean", ascending=False).head(_MOST_BARS)
    panel.figure.set_size_inches(9, 1.5 + 0.3 * len(best))
    names = [
        " ".join(f"{axis.rpartition('.')[2]}={row[axis]}" for axis in axes)
        for _, row in best.iterrows()
    ]
    panel.barh(range(len(best)), best["mean"], xerr=best["sd"].fillna(0), capsize=3)
    panel.set_yticks(range(len(best)), names)
    panel.invert_yaxis()


def _label(panel: Axes, x: str, y: str, log: Collection[str]) -> None:
    panel.set(xlabel=x, ylabel=y)
    panel.set_xscale("log" if x in log else "linear")
    panel.set_yscale("log" if y in log else "linear")
    panel.grid(alpha=0.3)
