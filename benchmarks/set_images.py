"""Draws scores of several data sets as bars, with an image and its prediction for each below."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_WIDTH = 1400  # of the result, pixels
_DPI = 100
_MAX_SCORE = 100.0


def draw_sets(
    table: pd.DataFrame, measures: Sequence[str], title: str, images: Sequence[np.ndarray]
) -> np.ndarray:
    """Draw a group of bars for each data set, and the images below, one under the other.

    Args:
        table: one row per data set, with its name in the column ``set``; ``measures`` in 0–100.
        measures: the columns to draw.
        title: title above the bars.
        images: uint8 (H, W, 3) RGB, of any sizes; resized to the same width.

    Returns:
        uint8 (height, 1400, 3) RGB.
    """
    return np.concatenate([_bars(table, measures, title), *map(_at_width, images)])


def _bars(table: pd.DataFrame, measures: Sequence[str], title: str) -> np.ndarray:
    figure = Figure(figsize=(_WIDTH / _DPI, 4.5), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(measures)
    places = np.arange(len(table))
    for i, measure in enumerate(measures):
        left = places + (i - (len(measures) - 1) / 2) * width
        bars = axes.bar(left, table[measure], 0.95 * width, label=measure)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(places, table["set"], parse_math=False)
    axes.set_ylim(0, _MAX_SCORE)
    axes.set_title(title, parse_math=False)
    axes.legend(ncols=len(measures), loc="upper right")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _at_width(image: np.ndarray) -> np.ndarray:
    height = max(1, round(image.shape[0] * _WIDTH / image.shape[1]))
    smaller = image.shape[1] > _WIDTH
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (_WIDTH, height), interpolation=method)
