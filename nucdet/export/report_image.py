"""What the report shows of one image: a thumbnail, outlines to draw on it, and measurements."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from nucdet.structures import CroppedMasks
from nucdet.structures.polygons import smooth_rings

if TYPE_CHECKING:
    import pandas as pd

# longer side of the thumbnail, pixels; a smaller image keeps its size
THUMBNAIL_SIDE = 720
# largest size of a thumbnail; 300 of them in base64 are 15 MB
THUMBNAIL_BYTES = 38_000
# points of outlines are rounded to multiples of 1 / OUTLINE_GRID thumbnail pixel
OUTLINE_GRID = 2
# largest deviation of a simplified outline, in thumbnail pixels
_TOLERANCE = 0.7
# WebP qualities to try, best first
_QUALITIES = (85, 70, 50, 30)
# effort of the WebP encoder; its default, 4, takes three times as long for files 8 % smaller
_METHOD = 2


def encode_thumbnail(image: np.ndarray) -> tuple[str, tuple[int, int]]:
    """Encode a small copy of an image as WebP of at most :data:`THUMBNAIL_BYTES`.

    For an image that is hard to compress (noise), first the quality is reduced, then the size.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        A ``data:`` URI, and the (width, height) of the copy in pixels.
    """
    side = THUMBNAIL_SIDE
    while True:
        thumbnail = _shrink(image, side)
        for quality in _QUALITIES:
            file = io.BytesIO()
            Image.fromarray(thumbnail).save(file, "WEBP", quality=quality, method=_METHOD)
            if file.tell() <= THUMBNAIL_BYTES:
                text = base64.b64encode(file.getvalue()).decode()
                return f"data:image/webp;base64,{text}", (thumbnail.shape[1], thumbnail.shape[0])
        side = side * 3 // 4


def outline_paths(masks: CroppedMasks, thumbnail_size: tuple[int, int]) -> list[str]:
    """Outlines as SVG path data, simplified by less than is visible on the thumbnail.

    Args:
        masks: N masks of the image.
        thumbnail_size: (width, height) in pixels.

    Returns:
        N strings with one ``Mx yldx dy…z`` for each piece and hole, in units of
        1 / :data:`OUTLINE_GRID` thumbnail pixel; an empty string for an empty mask.
    """
    height, width = masks.image_size
    scale = np.array(thumbnail_size) / (width, height)
    tolerance = _TOLERANCE / float(scale.max())
    paths = []
    for crop, offset in zip(masks.crops, masks.offsets, strict=True):
        rings = smooth_rings(crop, offset, 2, tolerance)
        paths.append("".join(_path(ring * (scale * OUTLINE_GRID)) for ring in rings))
    return paths


def report_columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Convert a table of measurements to values that JSON can represent.

    Args:
        table: N rows.

    Returns:
        For each column, in the table's order, its name and N values: integers and text unchanged;
        other numbers rounded by :func:`short_number`; 0 or 1 for booleans; None for missing and
        infinite values.
    """
    from pandas import NA

    return {
        str(name): [None if value is NA else _plain(value) for value in table[name].tolist()]
        for name in table
    }


def short_number(value: float) -> float | int:
    """Round to four significant digits or, from 1000 on, to an integer."""
    rounded = round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
    return int(rounded) if rounded == int(rounded) else rounded


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return short_number(value)


def _shrink(image: np.ndarray, side: int) -> np.ndarray:
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _path(ring: np.ndarray) -> str:
    """A closed ring (K, 2) of points (x, y) as SVG path data."""
    points = np.rint(ring).astype(np.int64)
    steps = np.diff(points, axis=0)
    steps = steps[steps.any(axis=1)]
    # a minus sign separates numbers as well as a space
    line = " ".join(map(str, steps.ravel().tolist())).replace(" -", "-")
    x, y = points[0].tolist()
    return f"M{x} {y}{f'l{line}' if line else ''}z"
