"""A histogram as an SVG picture that stands inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 28, 22, 46
_BINS = 40
# the few largest (clumps, debris) would squeeze all others into one bar
_SHOWN = 99.5


def histogram_svg(values: Sequence[float], label: str) -> str:
    """Draw how often values of each size occur, with the median marked.

    The axis starts at 0 and ends beyond the 99.5th percentile, at a round number; larger values are
    counted in the last bar, which then says so.

    Args:
        values: at least one number, none negative.
        label: of the axis, with the unit.

    Returns:
        An ``<svg>`` element; its colours are CSS classes ``bar``, ``axis``, ``grid``, ``median``.
    """
    data = np.asarray(values, dtype=float)
    top = float(np.percentile(data, _SHOWN)) or 1.0
    step = round_step(top, 8)
    end = math.ceil(top / step + 1e-9) * step
    # whole numbers fall on bars evenly only where a bar spans a whole number of them
    whole = bool((data == np.rint(data)).all())
    span = max(1.0, math.ceil(end / _BINS)) if whole else end / _BINS
    bins = max(1, round(math.ceil(end / span)))
    end = bins * span
    last = np.minimum(data, np.nextafter(end, 0))
    counts, edges = np.histogram(last, bins=bins, range=(0, end))
    y_step = max(1.0, round_step(counts.max(), 4))
    y_end = math.ceil(counts.max() / y_step) * y_step

    def x_of(value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / end

    def y_of(count: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * count / y_end

    beyond = int((data >= end).sum())
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Histogram of {escape(label)}">',
        *(_grid_line(y_of(c), c) for c in np.arange(0, y_end + 1, y_step)),
        *_bars(counts, edges, x_of, y_of, beyond),
        *(_x_tick(x_of(v), v) for v in np.arange(0, end + step / 2, step) if v <= end),
        _median_mark(x_of(float(min(np.median(data), end))), float(np.median(data))),
        f'<text class="axis" x="{(WIDTH + _LEFT) / 2:.1f}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">{escape(label)}</text>',
        "</svg>",
    ]
    return "".join(parts)


def round_step(length: float, parts: int) -> float:
    """1, 2 or 5 times a power of ten, so that about ``parts`` steps make the length.

    Example:
        >>> round_step(730, 8), round_step(0.9, 4)
        (100.0, 0.2)
    """
    raw = length / parts
    power = 10.0 ** math.floor(math.log10(raw))
    return power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - raw))


def _bars(counts, edges, x_of, y_of, beyond: int) -> list[str]:
    bars = []
    for i, count in enumerate(counts.tolist()):
        if not count:
            continue
        x, width = x_of(edges[i]), x_of(edges[i + 1]) - x_of(edges[i])
        tip = f"{edges[i]:g} to {edges[i + 1]:g}: {count:,}"
        if beyond and i == len(counts) - 1:
            tip = f"{edges[i]:g} and more: {count:,}"
        bars.append(
            f'<rect class="bar" x="{x + 0.75:.2f}" y="{y_of(count):.2f}" '
            f'width="{max(width - 1.5, 1):.2f}" height="{y_of(0) - y_of(count):.2f}" rx="1.5">'
            f"<title>{tip}</title></rect>"
        )
    if beyond:
        text = f"{beyond:,} larger, in the last bar"
        bars.append(
            f'<text class="axis" x="{WIDTH - _RIGHT}" y="{_TOP - 8}" text-anchor="end">{text}'
            "</text>"
        )
    return bars


def _grid_line(y: float, count: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.2f}" y2="{y:.2f}"/>'
        f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.2f}" text-anchor="end">{count:,.0f}</text>'
    )


def _x_tick(x: float, value: float) -> str:
    y = HEIGHT - _BOTTOM + 18
    return f'<text class="axis" x="{x:.2f}" y="{y}" text-anchor="middle">{value:,.6g}</text>'


def _median_mark(x: float, value: float) -> str:
    bottom = HEIGHT - _BOTTOM
    anchor, shift = ("start", 6) if x < WIDTH / 2 else ("end", -6)
    return (
        f'<line class="median" x1="{x:.2f}" x2="{x:.2f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text class="axis" x="{x + shift:.2f}" y="{_TOP + 14}" text-anchor="{anchor}">'
        f"median {value:,.4g}</text>"
    )
