"""From napari's layers to the images that are segmented, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# of layers in colour: what is segmented, and its place on the last axis
COLOURS = {"RGB": slice(None), "red": 0, "green": 1, "blue": 2}
_MICROMETRE = 1e-6


@dataclass(frozen=True)
class Plane:
    """One plane of a layer, as the viewer's sliders show it.

    Attributes:
        pixels: (H, W), or (H, W, 3) of a layer in colour, values as the layer holds them.
        name: of the layer, with the plane's place on the other axes.
        step: the index on each axis before y and x.
    """

    pixels: np.ndarray
    name: str
    step: tuple[int, ...] = ()


def shown_plane(layer: Any, point: Sequence[float], colour: str = "RGB") -> Plane:
    """The plane of an image or labels layer at a place of the viewer.

    Args:
        layer: a napari Image or Labels layer; its last two axes are y and x, before the colours.
        point: ``viewer.dims.point``, in world coordinates.
        colour: one of :data:`COLOURS`; it does nothing where the layer is not in colour.
    """
    in_colour = getattr(layer, "rgb", False)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    leading = layer.ndim - 2
    place = np.rint(layer.world_to_data(point)[:leading]).astype(int)
    step = tuple(int(i) for i in np.clip(place, 0, np.array(data.shape[:leading]) - 1))
    pixels = np.asarray(data[step])  # a layer may read its file only now
    if in_colour:
        pixels = pixels[..., :3][..., COLOURS[colour]]
    return Plane(pixels, "_".join([layer.name, *map(str, step)]), step)


def labels_placement(layer: Any, step: tuple[int, ...]) -> dict[str, Any]:
    """Where a labels layer of one plane lies: on that plane of its image, and on no other.

    Args:
        layer: of the image.
        step: of the plane.

    Returns:
        Arguments for ``viewer.add_labels``, whose data need ``len(step)`` axes of length 1 in front
        of (H, W).
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
    """µm of a pixel's side where the layer's scale has a unit of length; else None."""
    unit, (height, width) = layer.units[-1], np.abs(layer.scale[-2:])
    if not unit.is_compatible_with("metre") or not np.isclose(height, width, rtol=0.01):
        return None
    return float((width * unit).to("metre").magnitude / _MICROMETRE)
