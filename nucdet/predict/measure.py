"""Measurements of nuclei, taken from their masks one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from skimage.measure import regionprops

from nucdet.data.io.windows import ImageWindows
from nucdet.structures import CroppedMasks

# per nucleus and in pixels; the power of the pixel size that turns it into micrometres
_LENGTHS = {"perimeter": 1, "area": 2}


def measure(
    masks: CroppedMasks,
    scores: np.ndarray | None = None,
    source: ImageWindows | None = None,
    pixel_size: float | None = None,
) -> pd.DataFrame:
    """Measure N masks with :func:`skimage.measure.regionprops`, each on its own crop.

    Args:
        masks: not empty ones, disjoint or not.
        scores: (N,), for a column ``score``.
        source: the image, for columns of mean intensity. The values are those that the file or
            array holds, before any scaling to 8 bits.
        pixel_size: µm; lengths, areas and places are then in µm and µm².

    Returns:
        One row a mask, in their order: ``id`` (1, 2, …, the label in a label map), ``centroid_y``,
        ``centroid_x`` (the centre of the top left pixel is 0, 0), ``area``, ``bbox_y0``,
        ``bbox_x0``, ``bbox_y1``, ``bbox_x1`` (always pixels, half-open), ``perimeter``,
        ``eccentricity``, ``solidity``, ``mean_intensity`` or, of colour images,
        ``mean_intensity_r``, ``…_g``, ``…_b``, and ``score``.
    """
    rows = []
    for number, (box, crop) in enumerate(zip(masks.slices(), masks.crops, strict=True), 1):
        row = _shape(number, box, crop)
        if source is not None:
            row |= _intensity(source.values(box)[crop])
        rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else _columns(source))
    table["id"] = table["id"].astype(np.int64)
    if scores is not None:
        table["score"] = np.asarray(scores, np.float64)
    if pixel_size is not None:
        for name, power in {**_LENGTHS, "centroid_y": 1, "centroid_x": 1}.items():
            table[name] = table[name] * pixel_size**power
    return table


def _columns(source: ImageWindows | None) -> list[str]:
    """Those of a table without rows."""
    names = list(_shape(1, np.s_[0:1, 0:1], np.ones((1, 1), bool)))
    if source is not None:
        names += list(_intensity(source.values(np.s_[0:1, 0:1])[0]))
    return names


def _shape(number: int, box: tuple[slice, slice], crop: np.ndarray) -> dict[str, float]:
    region = regionprops(crop.view(np.uint8))[0]
    (rows, columns), (y, x) = box, region.centroid
    return {
        "id": number,
        "centroid_y": rows.start + y,
        "centroid_x": columns.start + x,
        "area": int(region.area),
        "bbox_y0": rows.start,
        "bbox_x0": columns.start,
        "bbox_y1": rows.stop,
        "bbox_x1": columns.stop,
        "perimeter": region.perimeter,
        "eccentricity": region.eccentricity,
        "solidity": _solidity(region),
    }


def _solidity(region: object) -> float:
    # the convex hull of a line of pixels is the line; skimage warns about it and gives infinity
    height, width = region.image.shape
    return 1.0 if min(height, width) < 3 else float(region.solidity)


def _intensity(values: np.ndarray) -> dict[str, float]:
    """Mean of (pixels,) or (pixels, 3)."""
    means = np.atleast_1d(values.mean(axis=0, dtype=np.float64))
    if len(means) == 1:
        return {"mean_intensity": float(means[0])}
    return {f"mean_intensity_{c}": float(m) for c, m in zip("rgb", means, strict=True)}
