"""What the report shows of one image: a small copy, outlines to draw on it, measurements."""

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
# at most: 200 of them in base64 are 10 MB
THUMBNAIL_BYTES = 38_000
# the points of outlines are rounded to 1 / this of a thumbnail pixel
OUTLINE_GRID = 2
# by how many thumbnail pixels an outline may be off
_TOLERANCE = 0.7
# WebP, the best first
_QUALITIES = (85, 70, 50, 30)
# effort of the encoder; 4, its default, takes three times as long for files 8 % smaller
_METHOD = 2


def encode_thumbnail(image: np.ndarray) -> tuple[str, tuple[int, int]]:
    """A small copy of an image as WebP of no more than :data:`THUMBNAIL_BYTES`.

    An image that is hard to compress (noise) loses quality first, then size.

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
    """Outlines as SVG path data, simplified by less than can be seen on the thumbnail.

    Args:
        masks: N masks of the image.
        thumbnail_size: (width, height) in pixels.

    Returns:
        N texts with one ``Mx yldx dy…z`` for each piece and hole, in units of
        1 / :data:`OUTLINE_GRID` thumbnail pixel; an empty one for an empty mask.
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
    """The columns of a table of measurements as JSON can hold them, in its order.

    Args:
        table: N rows.

    Returns:
        For each column name N values: numbers with four significant digits, but from 1000 on with
        all digits before the decimal point; 0 or 1 for booleans; None for missing and infinite
        values; texts as they are.
    """
    from pandas import NA

    return {
        str(name): [None if value is NA else _plain(value) for value in table[name].tolist()]
        for name in table
    }


def short_number(value: float) -> float | int:
    """Four significant digits, but from 1000 on all digits before the decimal point."""
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
