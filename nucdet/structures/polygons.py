"""Outlines of masks, and masks of polygons, where pixel (y, x) covers [x, x+1] by [y, y+1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from nucdet.errors import InputError

# Limit in pixels, for the length of an outline and for the distance of a point from the image's
# corner. COCO's code walks along the outline, also outside the image, with 70 bytes of memory per
# pixel, and counts fifths of pixels in 32 bits.
_LONGEST = 10_000_000
# COCO's code numbers the image's pixels in 32 bits
_MOST_PIXELS = 1 << 32


def smooth_rings(
    crop: np.ndarray, offset: np.ndarray, fineness: int, tolerance: float = 0
) -> list[np.ndarray]:
    """Smoothed outlines of a mask and of its holes, for drawing.

    They run inside the mask, through the points of a refined grid that are next to its edge, so
    that the outlines of two touching nuclei lie side by side. Smoothing moves them by less than a
    pixel.

    Args:
        crop: bool (h, w).
        offset: (y0, x0) of the crop in the image.
        fineness: grid points per pixel along each axis; with 2, even a single pixel has an outline.
        tolerance: pixels by which an outline may be off to save points (Douglas and Peucker, 1973).

    Returns:
        float64 rings (K, 2) of points (x, y) in image coordinates, where pixel (0, 0) covers
        [0, 1] by [0, 1]; the first point is not repeated at the end.
    """
    # a border of one pixel, so that edges of the mask at the edge of the crop are smoothed, too
    padded = np.pad(crop.astype(np.float32), 1)
    fine = cv2.resize(padded, None, fx=fineness, fy=fineness, interpolation=cv2.INTER_LINEAR)
    contours, _ = cv2.findContours(
        (fine >= 0.5).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    if tolerance:
        contours = [cv2.approxPolyDP(ring, tolerance * fineness, True) for ring in contours]
    corner = np.asarray(offset)[::-1] - 1
    return [(ring[:, 0, :] + 0.5) / fineness + corner for ring in contours]


def polygons_to_rle(parts: Sequence[Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """COCO RLE of the union of one instance's polygons, as pycocotools fills them.

    Args:
        parts: each flat [x, y, x, y, …]; without parts the mask is empty.
        image_size: (height, width); what lies outside is cut off.

    Raises:
        InputError: a part with fewer than 3 points, an odd count, numbers that are not finite or
            so large that filling would take gigabytes, or an image of 2^32 pixels or more.
    """
    arrays = [_points(part) for part in parts]
    height, width = image_size
    if not arrays:
        return {"size": [height, width], "counts": [height * width]}
    if height * width >= _MOST_PIXELS:
        raise InputError(
            f"polygons in an image {height} high and {width} wide: expected fewer than "
            f"{_MOST_PIXELS} pixels; give the masks of larger images as RLE"
        )
    return coco_mask.merge(coco_mask.frPyObjects(arrays, *image_size))


def _points(part: Any) -> np.ndarray:
    try:
        points = np.asarray(part, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"polygon {str(part)[:40]}: expected a flat list of numbers") from None
    # pycocotools would take 4 numbers for a box
    if points.ndim != 1 or points.size < 6 or points.size % 2:
        raise _refusal(part, points)
    # an upper bound of the outline's length, so that few polygons need the exact check
    if not 2 * np.abs(points).sum() <= _LONGEST:
        if not np.isfinite(points).all():
            raise _refusal(part, points)
        _check_extent(points.reshape(-1, 2))
    return points


def _refusal(part: Any, points: np.ndarray) -> InputError:
    return InputError(
        f"polygon {str(part)[:40]} of {points.size} numbers: "
        "expected x and y of at least 3 points in turn, all finite"
    )


def _check_extent(corners: np.ndarray) -> None:
    farthest = np.abs(corners).max()
    if farthest > _LONGEST:
        raise InputError(
            f"polygon with a coordinate {farthest:g} from the image's corner: expected pixels, "
            f"at most {_LONGEST}; correct or remove it"
        )
    length = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum()
    if length > _LONGEST:
        raise InputError(
            f"polygon of {len(corners)} points with an outline of {length:.0f} pixels: "
            f"expected at most {_LONGEST}; correct or remove it"
        )
