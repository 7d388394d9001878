"""Draws instances on their image with Detectron2's Visualizer, fast even for thousands of them."""

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

# an image is enlarged by an integer factor until its longer side has at least this many pixels, but
# by no more than MAX_ZOOM
READABLE_SIDE = 1000
MAX_ZOOM = 8
# Under each bright line there is a dark one, which is wider by this many pixels of the result and
# has this opacity, so that on any image at least one of the two is visible
HALO_WIDTH = 2.5
HALO_ALPHA = 0.65


def readable_zoom(image_size: tuple[int, int]) -> int:
    """The integer factor that enlarges an image of (height, width) enough to draw outlines on."""
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
    """Draw an outline, bright on dark, and a transparent fill for every instance.

    Outlines follow the inner edge, so that those of touching nuclei lie side by side. Edges are
    smoothed by less than a pixel of the image; holes are left open. Time and memory are
    proportional to the pixels of the image and of the masks, not to N×H×W.

    Args:
        image: uint8 (H, W, 3) RGB.
        masks: N masks of that image: CroppedMasks or what :meth:`CroppedMasks.from_any` accepts.
        colors: uint8 RGB, (N, 3) or one for all (e.g. by class or by match); None: colors that
            differ between neighbors.
        alpha: opacity of the fill, 0 (invisible) to 1.
        line_width: width of the bright outlines, in pixels of the result; 0: no outlines.
        zoom: factor by which the result is larger than the image; None: :func:`readable_zoom`.

    Returns:
        uint8 (H·zoom, W·zoom, 3) RGB.

    Raises:
        ValueError: image, masks and colors do not match in shape or dtype.
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
    """Detectron2's Visualizer with a method that draws thousands of instances at once.

    Its own ``overlay_instances`` needs dense N×H×W masks and creates a matplotlib object for each
    instance. ``scale`` must be an integer.
    """

    def overlay_masks(
        self, masks: CroppedMasks, colors: np.ndarray, alpha: float, line_width: float
    ) -> None:
        """Add outlines and fills to ``self.output``; arguments as for :func:`draw_instances`."""
        scale = self.output.scale
        # at least two points per pixel, so that a mask of one pixel still has an outline
        fineness = max(2, round(scale))
        # larger masks first, because they would cover smaller ones that they enclose
        order = np.argsort(-masks.areas, kind="stable").tolist()
        outlines = [outline(masks.crops[i], masks.offsets[i], fineness) for i in order]
        solid = colors[order] / 255
        fills = PathCollection(outlines, facecolors=solid, edgecolors="none", alpha=alpha)
        self._add(fills)
        if line_width:
            # all dark lines first, so that they do not cover bright lines
            dark = self._lines(outlines, "black", line_width + HALO_WIDTH)
            dark.set_alpha(HALO_ALPHA)
            self._add(dark)
            self._add(self._lines(outlines, solid, line_width))

    def get_image(self) -> np.ndarray:
        """Like ``self.output.get_image()``: uint8 (H·scale, W·scale, 3) RGB.

        The image is enlarged by OpenCV, because matplotlib would need more time for it than for
        everything else, and 130 bytes per pixel.
        """
        output, zoom = self.output, round(self.output.scale)
        renderer = output.canvas.get_renderer()
        pixels = np.asarray(renderer.buffer_rgba())
        # replaces the Visualizer's own image, below the instances
        output.ax.images[0].set_visible(False)
        image = cv2.resize(self.img, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=pixels)
        output.fig.draw(renderer)
        return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)

    def _lines(self, outlines: list[Path], colors: Any, width: float) -> PathCollection:
        # matplotlib measures line widths in points of 1/72 inch
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
