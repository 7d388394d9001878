"""A histogram as an SVG image that stands inside a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

_BINS = 40
# the few largest (clumps, debris) would squeeze all others into one bar
_SHOWN = 99.5
# text stays text, and equal numbers give equal bytes
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nucdet",
    "font.sans-serif": "DejaVu Sans",
    "font.size": 9,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def histogram_svg(values: Sequence[float], label: str) -> str:
    """Draw how often values of each size occur, with the median marked.

    The axis starts at 0 and ends beyond the 99.5th percentile, at a round number; larger values are
    counted in the last bar, which then says so. Each bar has its range and count as a tooltip.

    Args:
        values: at least one number, none negative.
        label: of the axis, with the unit.

    Returns:
        An ``<svg>`` element. Its bars have the ids ``bar-0``, ``bar-1`` …, the median's line
        ``median``, for a style sheet to colour them.
    """
    data = np.asarray(values, dtype=float)
    end = MaxNLocator(8).tick_values(0, np.percentile(data, _SHOWN) or 1.0)[-1]
    span = end / _BINS
    if (data == np.rint(data)).all():
        # whole numbers fall on bars evenly only where a bar spans a whole number of them
        span = max(1.0, np.ceil(span))
        end = span * (np.floor(end / span) + 1)
    edges = np.linspace(0, end, round(end / span) + 1)
    counts, _ = np.histogram(np.minimum(data, end), edges)
    beyond = int((data > end).sum())
    with matplotlib.rc_context(_STYLE):
        svg = _draw(edges, counts, float(np.median(data)), label, beyond)
    for i, (low, high, count) in enumerate(zip(edges, edges[1:], counts.tolist(), strict=False)):
        more = beyond and i == len(counts) - 1
        tip = f"{low:g} and more: {count:,}" if more else f"{low:g} to {high:g}: {count:,}"
        svg = svg.replace(f'<g id="bar-{i}">', f'<g id="bar-{i}"><title>{tip}</title>', 1)
    return svg


def _draw(edges: np.ndarray, counts: np.ndarray, median: float, label: str, beyond: int) -> str:
    figure = Figure(figsize=(7.6, 2.4), layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    bars = axes.bar(edges[:-1], counts, np.diff(edges) * 0.9, align="edge", clip_on=False)
    for i, bar in enumerate(bars):
        bar.set_gid(f"bar-{i}")
    line = axes.axvline(min(median, edges[-1]), linestyle="--", linewidth=1, clip_on=False)
    line.set_gid("median")
    left = median < edges[-1] / 2
    axes.annotate(
        f"median {median:,.4g}",
        (min(median, edges[-1]), 1),
        (4 if left else -4, 0),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if left else "right",
        va="top",
    )
    if beyond:
        axes.set_title(f"{beyond:,} larger, in the last bar", loc="right", fontsize=9)
    axes.set(xlabel=label, xlim=(0, edges[-1]), ylim=(0, counts.max()))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.6g}"))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.tick_params(length=0)
    axes.grid(axis="y", linewidth=0.5, clip_on=False)
    axes.set_axisbelow(True)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    svg = buffer.getvalue()
    opening = f'<svg role="img" aria-label="Histogram of {escape(label)}" '
    return opening + svg[svg.index("<svg ") + len("<svg ") :]
