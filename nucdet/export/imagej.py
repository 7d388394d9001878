"""Writes nuclei as a zip of ImageJ regions of interest, the format of its ROI Manager."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from roifile import ROI_TYPE, ImagejRoi

from nucdet.export.outlines import Polygon, mask_polygons
from nucdet.files import write_atomically
from nucdet.structures import CroppedMasks

# all members get the earliest date that a zip can hold, so that equal masks give equal bytes
_DATE = (1980, 1, 1, 0, 0, 0)
# types of segments in a composite ROI, as in java.awt.geom.PathIterator
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


class RoiPosition(NamedTuple):
    """The position of ROIs in a stack; like ImageJ, it counts from 1.

    Attributes:
        slice: the plane's number among all planes.
        z, time: position of the plane in its file; ``z`` is 0 for a projection, which stands for
            all depths. If one of them is not 0, ImageJ ignores ``slice``. As ImageJ uses them in
            hyperstacks only, both must be 0 for a file with one axis, which it opens as a plain
            stack.
    """

    slice: int
    z: int
    time: int


class RoiPlane(NamedTuple):
    """The nuclei of an image, or of a plane of a stack.

    Attributes:
        masks: N masks; empty ones are left out.
        position: of the plane in its stack; None: a single image.
        numbers: N numbers in the label image; None: 1 to N.
        suffix: what follows the number in names, so that those of a nucleus on several planes
            differ.
    """

    masks: CroppedMasks
    position: RoiPosition | None = None
    numbers: Sequence[int] | None = None
    suffix: str = ""


def write_rois(path: str | os.PathLike[str], planes: Iterable[RoiPlane], count: int) -> None:
    """Write one ROI per mask, named by its number in the label image.

    A nucleus in one piece is a traced polygon along its pixel edges, as made by ImageJ's wand tool.
    One with holes or in several pieces is a composite ROI of all its outlines, so that there is
    exactly one ROI per mask. ImageJ's ROI Manager cannot open the empty zip of an image without
    nuclei.

    Args:
        path: an existing file is replaced.
        planes: iterated over once, one at a time.
        count: the largest number, from which the length of the names follows.

    Raises:
        OSError: the file cannot be written.
    """
    digits = max(4, len(str(count)))
    with write_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for masks, position, numbers, suffix in planes:
            numbers = range(1, len(masks) + 1) if numbers is None else numbers
            for crop, offset, number in zip(masks.crops, masks.offsets, numbers, strict=True):
                polygons = mask_polygons(crop, offset)
                if not polygons:
                    continue
                name = f"{number:0{digits}}{suffix}"
                member = zipfile.ZipInfo(f"{name}.roi", _DATE)
                member.external_attr = 0o644 << 16
                content = _roi(polygons, name, position).tobytes()
                archive.writestr(member, content, zipfile.ZIP_DEFLATED)


def _roi(polygons: list[Polygon], name: str, position: RoiPosition | None) -> ImagejRoi:
    rings = [ring for polygon in polygons for ring in polygon]
    roi = ImagejRoi.frompoints(rings[0], name=name)
    roi.roitype = ROI_TYPE.TRACED
    # frompoints assumes points in pixels and makes the box one pixel too large for pixel edges
    corners = np.concatenate(rings)
    roi.left, roi.top = (int(v) for v in corners.min(axis=0))
    roi.right, roi.bottom = (int(v) for v in corners.max(axis=0))
    if len(rings) > 1:
        roi.roitype = ROI_TYPE.RECT
        roi.n_coordinates = 0
        roi.integer_coordinates = roi.subpixel_coordinates = None
        roi.multi_coordinates = np.concatenate([_segments(ring) for ring in rings])
        roi.shape_roi_size = len(roi.multi_coordinates)
    if position is not None:
        roi.position, roi.z_position, roi.t_position = position
    return roi


def _segments(ring: np.ndarray) -> np.ndarray:
    """A ring (K, 2) of points (x, y) as (3 K + 1,) float32: type, x, y of each, then the end."""
    segments = np.full((len(ring), 3), _LINE, np.float32)
    segments[0, 0] = _MOVE
    segments[:, 1:] = ring
    return np.append(segments.ravel(), np.float32(_CLOSE))
