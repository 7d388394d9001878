"""Draws a prediction next to the ground truth, with matched, missed and false nuclei in color."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from detectron2.utils.visualizer import VisImage

from nucdet.evaluation.matching import Intersections, Matching, match
from nucdet.structures import CroppedMasks
from nucdet.visualization.colors import FALSE, MATCHED, MISSED, brighten
from nucdet.visualization.drawing import draw_instances

_BACKGROUND = 24  # grey level
_TEXT_COLOR = (0.92, 0.92, 0.92)
_GAP = 8  # pixels between the panels
_MIN_PANEL_WIDTH = 420  # so that the legend fits above a narrow image
_LEGEND_LENGTH = 52  # characters of the legend in the width of a panel
_NAME_LENGTH = 48  # largest number of characters shown of the image's name


class _Panel(NamedTuple):
    title: str
    entries: list[tuple[tuple[int, int, int], str]]  # color and text of the legend
    image: np.ndarray


def draw_comparison(
    image: np.ndarray,
    predicted: CroppedMasks,
    truth: CroppedMasks,
    name: str = "",
) -> np.ndarray:
    """Draw the prediction on the left and the ground truth on the right, under a legend.

    Nuclei matched at an IoU above 0.5 have the same color in both panels; false ones (left) and
    missed ones (right) have other colors. The legend shows their numbers and the image's Kaggle
    score (see :mod:`nucdet.evaluation.matching`). Dark images are brightened.

    Args:
        image: uint8 (H, W, 3) RGB.
        predicted, truth: masks of that image; empty ones are left out, as in the score.
        name: name of the image, for the legend.

    Returns:
        uint8 (height, width, 3) RGB; the panels are enlarged as in :func:`draw_instances`.

    Raises:
        ValueError: the image and the masks differ in size.
    """
    predicted, truth = predicted[predicted.areas > 0], truth[truth.areas > 0]
    matching = match(Intersections.of_masks(truth, predicted))
    image = brighten(image)
    is_found, is_right = _matched(matching)
    hits = int(matching.tp[0])
    panels = (
        _Panel(
            f"prediction: {len(predicted)}",
            [(MATCHED, f"matched {hits}"), (FALSE, f"false {len(predicted) - hits}")],
            draw_instances(image, predicted, np.where(is_right, MATCHED, FALSE)),
        ),
        _Panel(
            f"truth: {len(truth)}",
            [(MATCHED, f"matched {hits}"), (MISSED, f"missed {len(truth) - hits}")],
            draw_instances(image, truth, np.where(is_found, MATCHED, MISSED)),
        ),
    )
    return _compose(panels, name, f"Kaggle score {matching.score:.3f}")


def _matched(matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """Which true and predicted masks are matched at an IoU above 0.5: (T, 1) and (P, 1) bool."""
    partner = matching.partner[0]
    is_found, is_right = partner >= 0, np.zeros(matching.n_pred, bool)
    is_right[partner[is_found]] = True
    return is_found[:, None], is_right[:, None]


def _compose(panels: tuple[_Panel, ...], name: str, score: str) -> np.ndarray:
    height, width = panels[0].image.shape[:2]
    column = max(width, _MIN_PANEL_WIDTH)
    size = min(20.0, column / _LEGEND_LENGTH / 0.6)  # a letter is 0.6 times the font size wide
    top = round(size * 3.6)
    starts = [i * (column + _GAP) for i in range(len(panels))]
    sheet = np.full((top + height, starts[-1] + column, 3), _BACKGROUND, np.uint8)
    for x, panel in zip(starts, panels, strict=True):
        sheet[top:, x : x + width] = panel.image
    header = VisImage(sheet[:top])
    _write(header, size * 0.5, size * 1.1, score, size, weight="bold")
    _write(header, size * 12.5, size * 1.1, "matched: IoU > 0.5", size * 0.8)
    _write(header, starts[1] + size * 0.5, size * 1.1, _shorten(name), size * 0.8)
    for x, panel in zip(starts, panels, strict=True):
        _write_legend(header, x + size * 0.5, size * 2.6, panel, size)
    sheet[:top] = header.get_image()
    return sheet


def _write_legend(header: VisImage, x: float, y: float, panel: _Panel, size: float) -> None:
    _write(header, x, y, panel.title, size)
    x += 12 * size
    for color, text in panel.entries:
        rgb = tuple(np.array(color) / 255)
        square = {"marker": "s", "markersize": size * 0.6 * _points(header), "color": rgb}
        header.ax.plot([x], [y], scalex=False, scaley=False, **square)
        _write(header, x + 0.7 * size, y, text, size)
        x += 8.5 * size


def _write(header: VisImage, x: float, y: float, text: str, size: float, **style: str) -> None:
    # parse_math is off, because a $ in a file name would start a formula
    header.ax.text(
        x,
        y,
        text,
        size=size * _points(header),
        color=_TEXT_COLOR,
        va="center_baseline",
        parse_math=False,
        **style,
    )


def _points(header: VisImage) -> float:
    """Points per pixel; matplotlib measures sizes in points of 1/72 inch."""
    return 72 / header.dpi


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 9]}…{name[-8:]}"
