"""Measurements of nuclei: position, shape, and the intensity and background of each channel.

Shapes are measured by :func:`skimage.measure.regionprops` on the crop of each nucleus. The image is
read in blocks, so that images of any size can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from skimage.measure import regionprops

from nucdet.data.io.choice import COLORS, Place, number_of
from nucdet.data.io.normalization import Box
from nucdet.data.io.windows import RGB, ImageWindows
from nucdet.errors import InputError
from nucdet.postprocessing.blocks import blocks_of
from nucdet.predict.options import check_pixel_size
from nucdet.structures import CroppedMasks

if TYPE_CHECKING:
    import pandas as pd

# The measurements of a shape, and the power of the pixel size that converts them to micrometres.
_SHAPE = {
    "centroid_y": 1,
    "centroid_x": 1,
    "bbox_y0": 1,
    "bbox_x0": 1,
    "bbox_y1": 1,
    "bbox_x1": 1,
    "area": 2,
    "equivalent_diameter": 1,
    "perimeter": 1,
    "major_axis": 1,
    "minor_axis": 1,
    "orientation_deg": 0,
    "circularity": 0,
    "eccentricity": 0,
    "solidity": 0,
}
_UNITS = {"px": ("", "_px", "_px"), "um": ("", "_um", "_um2")}
# of each channel, as the part of the column's name before "_intensity"
_STATISTICS = ("mean", "max", "integrated", "std", "background", "net_mean", "net_integrated")

# The background of a nucleus, in pixels: what is further than the gap from any nucleus (blur fills
# the gap with light from the nuclei) and within a radius of this one. The second radius is used if
# the first leaves too few pixels, because the surroundings are full of other nuclei.
_GAP = 2
_RADII = (8, 32)
_MIN_BACKGROUND = 20  # pixels within the first radius
_BLOCK = 1024
_FIRST = Place()


@dataclass(frozen=True)
class Channels:
    """The channels of an image whose intensities are measured.

    Attributes:
        names: C names, for the columns of the table; "" if there is only one channel.
        read: returns the stored values in a window, (C, h, w), before any scaling to 8 bits.
    """

    names: tuple[str, ...]
    read: Callable[[Box], np.ndarray]

    @classmethod
    def of_windows(cls, source: ImageWindows) -> Channels:
        """All channels of an image, at its place in the file; they are read on demand."""
        return cls(source.channel_names, source.channel_reader())

    def chosen(self, wanted: Sequence[str | int]) -> Channels:
        """Select channels by name or by number from 0, see :func:`number_of`; colors of RGB images
        also by their whole names.

        Raises:
            InputError: there is no such channel.
        """
        places = [self._place(channel) for channel in wanted]
        return Channels(tuple(self.names[i] for i in places), lambda box: self.read(box)[places])

    def _place(self, channel: str | int) -> int:
        text = str(channel)
        number = number_of(self.names, text)
        if number is None and self.names == RGB:
            number = number_of(COLORS, text)
        if number is not None:
            return number
        known = ", ".join(f"{i} {name}".strip() for i, name in enumerate(self.names))
        raise InputError(f"there is no channel {text!r} to measure, only {known}")


def measure(
    masks: CroppedMasks,
    channels: Channels | None = None,
    pixel_size: float | None = None,
    *,
    scores: np.ndarray | None = None,
    classes: Sequence[str] | np.ndarray | None = None,
    place: Place = _FIRST,
    others: CroppedMasks | None = None,
) -> pd.DataFrame:
    """Measure N masks of an image; docs/measurements.md describes each column.

    Args:
        masks: N masks, disjoint or not; none may be empty.
        channels: the channels of the image; None: no intensities.
        pixel_size: µm; None: lengths and areas are in pixels.
        scores: (N,), for a column ``score``.
        classes: N class names, for a column ``class``.
        place: position of the image in its file, for the columns ``time`` and ``z``.
        others: more nuclei of the image, or all of them, which are also excluded from the
            background.

    Returns:
        One row per mask, in the same order. ``id`` is 1, 2, …, the label in a label map. The names
        of columns with lengths and areas end in their unit, which is the same in the whole table:
        ``area_px``, ``perimeter_px``, or ``area_um2``, ``perimeter_um``. (0, 0) is the center of
        the top left pixel for centroids, and its corner for boxes, which are half-open.

    Raises:
        InputError: the pixel size is impossible.
    """
    check_pixel_size(pixel_size)
    import pandas as pd  # only here, so that a prediction starts without it

    columns: dict[str, np.ndarray | Sequence[str]] = {
        "id": np.arange(1, len(masks) + 1),
        "time": np.full(len(masks), place.time),
        "z": np.full(len(masks), place.z),
    }
    if classes is not None:
        columns["class"] = classes
    if scores is not None:
        columns["score"] = np.asarray(scores, np.float64)
    columns["touches_border"] = masks.touches_border()
    columns |= _shapes(masks, pixel_size)
    if channels is not None:
        columns |= _intensities(masks, channels, others)
    return pd.DataFrame(columns)


def _shapes(masks: CroppedMasks, pixel_size: float | None) -> dict[str, np.ndarray]:
    boxed = zip(masks.slices(), masks.crops, strict=True)
    found = [_shape(box, crop) for box, crop in boxed]
    table = np.array(found, np.float64).reshape(-1, len(_SHAPE))
    columns = {}
    for values, (name, power) in zip(table.T, _SHAPE.items(), strict=True):
        whole = name == "area" or name.startswith("bbox")
        if pixel_size is None:
            columns[name + _UNITS["px"][power]] = values.astype(np.int64) if whole else values
        else:
            columns[name + _UNITS["um"][power]] = values * pixel_size**power
    return columns


def _shape(box: Box, crop: np.ndarray) -> tuple[float, ...]:
    """The measurements of one mask in the order of ``_SHAPE``, in pixels."""
    region = regionprops(crop.view(np.uint8))[0]
    (rows, columns), (y, x) = box, region.centroid
    # Crofton's formula; skimage's other perimeter is 5 % too long for a large disk, which would
    # make its circularity 0.91
    perimeter = region.perimeter_crofton
    return (
        rows.start + y,
        columns.start + x,
        rows.start,
        columns.start,
        rows.stop,
        columns.stop,
        region.area,
        region.equivalent_diameter_area,
        perimeter,
        region.axis_major_length,
        region.axis_minor_length,
        # skimage measures the angle from the vertical axis
        (math.degrees(region.orientation) + 90) % 180,
        min(1.0, 4 * math.pi * region.area / perimeter**2),
        region.eccentricity,
        region.solidity,
    )


def _intensities(
    masks: CroppedMasks, channels: Channels, others: CroppedMasks | None
) -> dict[str, np.ndarray]:
    table = np.zeros((len(masks), len(channels.names), len(_STATISTICS)))
    nuclei = masks if others is None else CroppedMasks.cat([masks, others])
    for block in _blocks(masks, nuclei):
        values = channels.read(block.window)
        free = _free_of(block.near, block.window)
        for i in block.mine.tolist():
            table[i] = _intensity(masks.offsets[i], masks.crops[i], block.window, values, free)
    return {
        f"{name}_intensity{'_' if channel else ''}{channel.replace(' ', '_')}": table[:, c, k]
        for c, channel in enumerate(channels.names)
        for k, name in enumerate(_STATISTICS)
    }


class _Block(NamedTuple):
    """Masks in one part of the image that are measured together."""

    mine: np.ndarray  # indices of the masks
    window: Box  # contains the masks and all that may be their background
    near: CroppedMasks  # all nuclei whose boxes intersect the window


def _blocks(masks: CroppedMasks, nuclei: CroppedMasks) -> Iterator[_Block]:
    for mine, near, start, stop in blocks_of(masks, _BLOCK, max(_RADII) + _GAP, nuclei):
        start, stop = np.maximum(start, 0), np.minimum(stop, masks.image_size)
        rows, columns = (slice(a, b) for a, b in zip(start.tolist(), stop.tolist(), strict=True))
        yield _Block(mine, (rows, columns), nuclei[near])


def _free_of(masks: CroppedMasks, window: Box) -> np.ndarray:
    """(h, w) bool: the pixels of a window that are further than ``_GAP`` from any mask."""
    y0, x0 = (side.start for side in window)
    covered = np.zeros([side.stop - side.start for side in window], np.uint8)
    for (y, x), crop in zip((masks.offsets - (y0, x0)).tolist(), masks.crops, strict=True):
        part = covered[max(0, y) : y + crop.shape[0], max(0, x) : x + crop.shape[1]]
        part |= crop[max(0, -y) :, max(0, -x) :][: part.shape[0], : part.shape[1]]
    return cv2.dilate(covered, _disc(_GAP)) == 0


def _disc(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y**2 + x**2 <= radius**2).astype(np.uint8)


def _intensity(
    offset: np.ndarray, crop: np.ndarray, window: Box, values: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """The statistics of one mask, (C, len(_STATISTICS))."""
    y, x = (offset - [side.start for side in window]).tolist()
    height, width = crop.shape
    inside = values[:, y : y + height, x : x + width][:, crop].astype(np.float64)
    background = np.full(len(values), np.nan)
    for radius in _RADII:
        top, left = max(0, y - radius), max(0, x - radius)
        around = np.s_[top : y + height + radius, left : x + width + radius]
        outside = np.ones(free[around].shape, np.uint8)
        outside[y - top :, x - left :][:height, :width] = ~crop
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        ring = free[around] & (distance <= radius)
        count = np.count_nonzero(ring)
        if count >= (_MIN_BACKGROUND if radius == _RADII[0] else 1):
            background = np.median(values[:, *around][:, ring].astype(np.float64), axis=1)
            break
    total, mean = inside.sum(axis=1), inside.mean(axis=1)
    return np.stack(
        [
            mean,
            inside.max(axis=1),
            total,
            inside.std(axis=1),
            background,
            mean - background,
            total - background * inside.shape[1],
        ],
        axis=1,
    )
