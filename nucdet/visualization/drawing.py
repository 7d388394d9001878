"""Instances drawn on their image with Detectron2's Visualizer, quickly also where they are many."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from detectron2.utils.visualizer import Visualizer
from matplotlib.collections import PathCollection
from matplotlib.path import Path

from nucdet.structures import CroppedMasks
from nucdet.structures.polygons import smooth_rings
from nucdet.visualization.colors import color_by_neighbors

# An image is enlarged by a whole number until its longer side reaches this many pixels, but not
# more than MAX_ZOOM times
READABLE_SIDE = 1000
MAX_ZOOM = 8
# A dark line under each bright one is this much wider, in pixels of the result, and this opaque: of
# two so different tones one differs from any image
HALO_WIDTH = 2.5
HALO_ALPHA = 0.65


def readable_zoom(image_size: tuple[int, int]) -> int:
    """By how much an image of (height, width) is enlarged so that thin outlines do not hide it."""
    return min(MAX_ZOOM, max(1, math.ceil(READABLE_SIDE / max(image_size))))


def draw_instances(
    image: np.ndarray,
    masks: Any,
    colors: np.ndarray | tuple[int, int, int] | None = None,
    *,
    alpha: float = 0.2,
    line_width: float = 1.5,
    zoom: int | None = None,
) -> np.ndarray:
    """Draw the outline, bright on dark, and a light fill of every instance.

    Outlines follow the inner edge, so that those of two touching nuclei lie side by side. Edges are
    smoothed by less than a pixel of the image, holes are left open. Time and memory grow with the
    pixels of image and masks, not with N×H×W.

    Args:
        image: uint8 (H, W, 3) RGB.
        masks: N masks of that image: CroppedMasks, or what :meth:`CroppedMasks.from_any` takes.
        colors: uint8 RGB, (N, 3) or one for all (e.g. by class or by verdict); None chooses
            different ones for neighbors.
        alpha: how much the fill covers, 0 (nothing) to 1.
        line_width: of the bright outlines, in pixels of the result; 0 draws none.
        zoom: how many times the result is larger than the image; None: as :func:`readable_zoom`.

    Returns:
        uint8 (H·zoom, W·zoom, 3) RGB.

    Raises:
        ValueError: image, masks and colors do not fit each other.
    """
    masks = CroppedMasks.from_any(masks)
    if image.dtype != np.uint8 or image.shape != (*masks.image_size, 3):
        raise ValueError(
            f"found an image {image.shape} of {image.dtype} and masks of {masks.image_size}; "
            "expected uint8 (H, W, 3) and masks of (H, W)"
        )
    if colors is None:
        colors = color_by_neighbors(masks, image)
    colors = np.broadcast_to(np.asarray(colors, np.uint8), (len(masks), 3))
    zoom = readable_zoom(masks.image_size) if zoom is None else zoom
    visualizer = NucleusVisualizer(image, scale=zoom)
    visualizer.overlay_masks(masks, colors, alpha, line_width)
    return visualizer.get_image()


class NucleusVisualizer(Visualizer):
    """Detectron2's Visualizer with a way to draw thousands of instances at once.

    Its own ``overlay_instances`` needs dense N×H×W masks and draws an image element an instance.
    ``scale`` has to be a whole number.
    """

    def overlay_masks(
        self, masks: CroppedMasks, colors: np.ndarray, alpha: float, line_width: float
    ) -> None:
        """Add outlines and fills to ``self.output``; arguments as of :func:`draw_instances`."""
        scale = self.output.scale
        # at least two points a pixel: one pixel alone still has an outline
        fineness = max(2, round(scale))
        # the larger first, else they would cover what they enclose
        order = np.argsort(-masks.areas, kind="stable").tolist()
        outlines = [outline(masks.crops[i], masks.offsets[i], fineness) for i in order]
        solid = colors[order] / 255
        fills = PathCollection(outlines, facecolors=solid, edgecolors="none", alpha=alpha)
        self._add(fills)
        if line_width:
            # all dark lines before the first bright one, which none of them may cover
            dark = self._lines(outlines, "black", line_width + HALO_WIDTH)
            dark.set_alpha(HALO_ALPHA)
            self._add(dark)
            self._add(self._lines(outlines, solid, line_width))

    def get_image(self) -> np.ndarray:
        """What ``self.output.get_image()`` gives, uint8 (H·scale, W·scale, 3) RGB.

        To enlarge the image Matplotlib takes longer than for all else, and 130 bytes a pixel.
        """
        output, zoom = self.output, round(self.output.scale)
        renderer = output.canvas.get_renderer()
        pixels = np.asarray(renderer.buffer_rgba())
        # in place of the Visualizer's own image, below what is drawn
        output.ax.images[0].set_visible(False)
        image = cv2.resize(self.img, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=pixels)
        output.fig.draw(renderer)
        return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)

    def _lines(self, outlines: list[Path], colors: Any, width: float) -> PathCollection:
        # matplotlib counts in points of 1/72 inch
        points = width * 72 / self.output.dpi
        return PathCollection(outlines, facecolors="none", edgecolors=colors, linewidths=points)

    def _add(self, collection: PathCollection) -> None:
        self.output.ax.add_collection(collection, autolim=False)


def outline(crop: np.ndarray, offset: np.ndarray, fineness: int) -> Path:
    """The rings of :func:`nucdet.structures.polygons.smooth_rings` as one closed path."""
    points, codes = [np.zeros((0, 2))], [np.zeros(0, np.uint8)]
    for ring in smooth_rings(crop, offset, fineness):
        points.append(np.concatenate([ring, ring[:1]]))
        code = np.full(len(ring) + 1, Path.LINETO, np.uint8)
        code[0], code[-1] = Path.MOVETO, Path.CLOSEPOLY
        codes.append(code)
    return Path(np.concatenate(points), np.concatenate(codes))
