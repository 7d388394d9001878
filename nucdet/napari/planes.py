"""Converts between napari's layers and the planes that are segmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucdet.errors import InputError

# the choices for a color layer -> index of its last axis
COLORS = {"RGB": slice(None), "red": 0, "green": 1, "blue": 2}
_MICROMETRE = 1e-6


@dataclass(frozen=True)
class Plane:
    """One plane of a layer, as the viewer's sliders show it.

    Attributes:
        pixels: (H, W), or (H, W, 3) RGB for a color layer, with the layer's values and dtype.
        name: the name of the layer, followed by ``step``.
        step: the plane's index along each axis before y and x.
    """

    pixels: np.ndarray
    name: str
    step: tuple[int, ...] = ()


def shown_plane(layer: Any, point: Sequence[float], color: str = "RGB") -> Plane:
    """The plane of an image or labels layer that a viewer shows.

    Args:
        layer: a napari Image or Labels layer; its last two axes are y and x, followed by the color
            channels if it is a color layer. Of a multiscale layer, the full resolution is used.
        point: ``viewer.dims.point``, in world coordinates; if it is outside the layer, the nearest
            plane is used.
        color: a key of :data:`COLORS`; ignored unless it is a color layer.
    """
    in_color = getattr(layer, "rgb", False)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    leading = layer.ndim - 2
    place = np.rint(layer.world_to_data(point)[:leading]).astype(int)
    step = tuple(int(i) for i in np.clip(place, 0, np.array(data.shape[:leading]) - 1))
    pixels = np.asarray(data[step])  # of a lazy layer, only this plane is read
    if in_color:
        pixels = pixels[..., :3][..., COLORS[color]]
    return Plane(pixels, "_".join([layer.name, *map(str, step)]), step)


def check_view(layer: Any, dims: Any) -> None:
    """Raise InputError if a 2D view cuts a layer across its planes, so that it shows none of them.

    Args:
        layer: a napari Image or Labels layer, see :func:`shown_plane`.
        dims: ``viewer.dims``; its axes are counted from the last, as those of the layer.
    """
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    shown = {axis - dims.ndim + layer.ndim for axis in dims.displayed}
    if dims.ndisplay == 2 and any(i in shown and data.shape[i] > 1 for i in range(layer.ndim - 2)):
        raise InputError(
            f"the viewer shows a cut through the planes of {layer.name}; change the order of the "
            "visible axes back to y and x first"
        )


def labels_placement(layer: Any, step: tuple[int, ...]) -> dict[str, Any]:
    """Arguments that place a labels layer on a single plane of its image layer.

    Args:
        layer: the image layer.
        step: the index of the plane, see :class:`Plane`.

    Returns:
        Keyword arguments for ``viewer.add_labels``; its data must have ``len(step)`` axes of length
        1 before (H, W).
    """
    translate = np.array(layer.translate, float)
    translate[: len(step)] += np.array(layer.scale)[: len(step)] * step
    return {
        "scale": layer.scale,
        "translate": translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def pixel_size_of(layer: Any) -> float | None:
    """The side of a layer's pixels in µm.

    None if its scale has no unit of length, or if pixels deviate from squares by more than 1 %.
    """
    unit, (height, width) = layer.units[-1], np.abs(layer.scale[-2:])
    if not unit.is_compatible_with("metre") or not np.isclose(height, width, rtol=0.01):
        return None
    return float((width * unit).to("metre").magnitude / _MICROMETRE)
