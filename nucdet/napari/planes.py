"""Converts between napari's layers and the planes that are segmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    place = np.rint(layer.world_to_data(point)[: layer.ndim - 2]).astype(int)
    return _plane(layer, np.clip(place, 0, np.array(plane_axes(layer)) - 1).tolist(), color)


def all_planes(layer: Any, color: str = "RGB") -> Iterator[Plane]:
    """All planes of a layer, in the order of its axes, each read when it is asked for.

    Args:
        layer, color: see :func:`shown_plane`.
    """
    return (_plane(layer, step, color) for step in np.ndindex(plane_axes(layer)))


def plane_axes(layer: Any) -> tuple[int, ...]:
    """The lengths of a layer's axes before y and x."""
    return _data(layer).shape[: layer.ndim - 2]


def _plane(layer: Any, step: Sequence[int], color: str) -> Plane:
    pixels = np.asarray(_data(layer)[tuple(step)])  # of a lazy layer, only this plane is read
    if getattr(layer, "rgb", False):
        pixels = pixels[..., :3][..., COLORS[color]]
    return Plane(pixels, "_".join([layer.name, *map(str, step)]), tuple(step))


def _data(layer: Any) -> Any:
    """The pixels of a layer; of a multiscale layer, those of the full resolution."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def check_view(layer: Any, dims: Any) -> None:
    """Raise InputError if a 2D view cuts a layer across its planes, so that it shows none of them.

    Args:
        layer: a napari Image or Labels layer, see :func:`shown_plane`.
        dims: ``viewer.dims``; its axes are counted from the last, as those of the layer.
    """
    shown = {axis - dims.ndim + layer.ndim for axis in dims.displayed}
    several = {i for i, length in enumerate(plane_axes(layer)) if length > 1}
    if dims.ndisplay == 2 and shown & several:
        raise InputError(
            f"the viewer shows a cut through the planes of {layer.name}; change the order of the "
            "visible axes back to y and x first"
        )


def labels_placement(layer: Any, step: tuple[int, ...] = ()) -> dict[str, Any]:
    """Arguments that place a labels layer on its image layer, or on a single plane of it.

    Args:
        layer: the image layer.
        step: the index of the plane, see :class:`Plane`; empty: all planes.

    Returns:
        Keyword arguments for ``viewer.add_labels``; its data must have ``len(step)`` axes of length
        1 before (H, W), or those of the image layer.
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
