"""Writes nuclei as GeoJSON detections that QuPath can import."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nucdet.export.outlines import mask_polygons
from nucdet.files import open_atomically
from nucdet.structures import CroppedMasks

if TYPE_CHECKING:
    import pandas as pd

# RGB; QuPath draws a class in this color unless the user has set another one
_COLOR = (0, 205, 255)


class PlaneNuclei(NamedTuple):
    """The nuclei of an image, or of a plane of a stack.

    Attributes:
        masks: N masks; empty ones are left out.
        classes: N class names.
        table: N rows of measurements, from :func:`nucdet.predict.measurements.measure`. ``id``
            becomes the object's name; the other numeric columns, except ``time`` and ``z``, become
            its measurements.
        time, z: of the plane, from 0; ``z`` may be "max" or "mean", a projection of all depths.
    """

    masks: CroppedMasks
    classes: Sequence[str]
    table: pd.DataFrame
    time: int = 0
    z: int | str = 0


def write_geojson(path: str | os.PathLike[str], planes: Iterable[PlaneNuclei]) -> None:
    """Write a FeatureCollection (RFC 7946) with one detection per nucleus.

    Coordinates are (x, y) in pixels, (0, 0) being the corner of the first pixel. Outlines follow
    the pixel edges and keep holes; a nucleus in several pieces is a MultiPolygon. QuPath 0.4 and
    newer read name, class and measurements (File > Import objects from file) and put each nucleus
    on its plane; older versions import the objects without measurements.

    Args:
        path: an existing file is replaced.
        planes: iterated over once, one at a time, so that only one is in memory.

    Raises:
        OSError: the file cannot be written.
    """
    separator = "\n"
    # one feature at a time, because a whole-slide image has a million of them
    with open_atomically(path) as file:
        file.write('{"type":"FeatureCollection","features":[')
        for plane in planes:
            for feature in _features(plane):
                file.write(separator + json.dumps(feature, separators=(",", ":")))
                separator = ",\n"
        file.write("\n]}\n")


def _features(plane: PlaneNuclei) -> Iterator[dict[str, Any]]:
    measured = plane.table.drop(columns=["id", "time", "z"], errors="ignore")
    measured = measured.select_dtypes("number")
    masks, numbers = plane.masks, plane.table["id"].tolist()
    # a projection is placed on the first depth; c = -1 stands for all channels, as in QuPath
    z = 0 if isinstance(plane.z, str) else plane.z
    place = {"plane": {"c": -1, "z": z, "t": plane.time}} if z or plane.time else {}
    rows = measured.itertuples(name=None)
    for i, (crop, offset, row) in enumerate(zip(masks.crops, masks.offsets, rows, strict=True)):
        if polygons := mask_polygons(crop, offset):
            values = dict(zip(measured, row[1:], strict=True))  # row[0] is the index
            yield {
                "type": "Feature",
                "geometry": _geometry([[_close(ring) for ring in p] for p in polygons]) | place,
                "properties": _properties(numbers[i], plane.classes[i], values),
            }


def _properties(number: int, class_name: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "objectType": "detection",
        "name": str(number),
        "classification": {"name": class_name, "color": _COLOR},
        # JSON has no NaN
        "measurements": {k: float(v) for k, v in row.items() if math.isfinite(v)},
    }


def _close(ring: np.ndarray) -> list[list[int]]:
    """A ring (K, 2) with its first point repeated at the end, as GeoJSON demands."""
    return [*ring.tolist(), ring[0].tolist()]


def _geometry(polygons: list[list[list[list[int]]]]) -> dict[str, Any]:
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
