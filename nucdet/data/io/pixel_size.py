"""The size of a pixel and the distance of depths in µm, from a microscope's file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    import tifffile  # not at run time: a check of options against the limits should be quick

_MICROMETRES = ("µm", "\u03bcm", "um", "micron", "microns", "\\u00b5m")
_UM = {"nm": 1e-3, **dict.fromkeys(_MICROMETRES, 1.0), "mm": 1e3, "cm": 1e4}
# ten picometres, near the smallest value of a TIFF tag, and a metre; beyond these limits, areas and
# sums lose precision
LEAST_UM, MOST_UM = 1e-5, 1e6


def ome_pixels(
    tiff: tifffile.TiffFile, number: int = 0, scenes: int = 1
) -> ElementTree.Element | None:
    """OME's element ``Pixels`` of one image in a file; None if there is none."""
    if not tiff.ome_metadata:
        return None
    try:
        images = ElementTree.fromstring(tiff.ome_metadata).findall("{*}Image")
    except ElementTree.ParseError:
        return None
    if scenes > 1 and len(images) != scenes:
        return None  # it is unknown which belongs to which scene
    return images[number].find("{*}Pixels") if images else None


def tiff_pixel_size(tiff: tifffile.TiffFile) -> float | None:
    """µm, from OME's or ImageJ's metadata of the first image of a file."""
    return pixel_size_of(tiff, ome_pixels(tiff), tiff.pages[0])


def pixel_size_of(
    tiff: tifffile.TiffFile, pixels: ElementTree.Element | None, page: Any
) -> float | None:
    """µm, from OME or ImageJ; resolution tags alone are mostly meant for printing."""
    if pixels is not None:
        return sane_pixel_size(_ome_size(pixels, "X"), _ome_size(pixels, "Y"))
    if tiff.imagej_metadata:
        factor = _UM.get(str(tiff.imagej_metadata.get("unit", "")).lower())
        if factor:
            return sane_pixel_size(*(factor / r if r else None for r in page.resolution))
    return None


def z_step_of(tiff: tifffile.TiffFile, pixels: ElementTree.Element | None) -> float | None:
    """The distance of two depths in µm, from OME's ``PhysicalSizeZ`` or ImageJ's ``spacing``."""
    if pixels is not None:
        return sane_length(_ome_size(pixels, "Z"))
    metadata = tiff.imagej_metadata or {}
    factor = _UM.get(str(metadata.get("unit", "")).lower())
    spacing = _number(str(metadata.get("spacing", "")))
    return sane_length(spacing * factor if spacing and factor else None)


def _ome_size(pixels: ElementTree.Element, axis: str) -> float | None:
    """The size of a pixel along an axis, "X", "Y" or "Z", in µm."""
    factor = _UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower())
    value = _number(pixels.get(f"PhysicalSize{axis}"))
    return value * factor if value and factor else None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:  # for example with a decimal comma
        return None


def sane_pixel_size(x: float | None, y: float | None) -> float | None:
    """The side of a square pixel in µm; None if it is not square or not plausible."""
    x, y = sane_length(x), sane_length(y)
    if x is None or y is None:
        return None
    return x if math.isclose(x, y, rel_tol=0.01) else None


def sane_length(length: float | None) -> float | None:
    """A length in µm; None if it is not plausible."""
    if length is None or not LEAST_UM <= length <= MOST_UM:
        return None
    return float(length)
