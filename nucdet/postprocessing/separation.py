"""Separates the nuclei in a foreground map: a threshold, then a way to split what touches.

Networks that classify pixels need it to give single nuclei. Thresholds: fixed, Otsu (IEEE Trans.
SMC 9, 1979), or two with hysteresis. Splitting: none (connected components), morphological opening,
or a watershed on the distance to the background or on a network's map of borders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode, configurable
from skimage.filters import apply_hysteresis_threshold, threshold_otsu
from skimage.segmentation import watershed

from nucdet.config_checks import check_value
from nucdet.errors import InputError
from nucdet.postprocessing.cutting import fill_holes
from nucdet.postprocessing.relief import split_at_saddles
from nucdet.structures import CroppedMasks

Method = Callable[["Separation", np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
# sigma, in pixels, of the Gaussian that smooths the hills of the watershed
SMOOTHING = 1.0


class Separation:
    """Turns foreground (and border) probabilities of an image into instances: MODEL.SEPARATION.

    Instances are 4-connected and share no pixel. The edge of the image does not count as background
    in distances, so it neither shrinks nor splits the nuclei that it cuts.
    """

    @configurable
    def __init__(
        self,
        *,
        threshold: str = "fixed",
        threshold_value: float = 0.5,
        hysteresis: tuple[float, float] = (0.3, 0.7),
        method: str = "watershed",
        opening_radius: float = 2.0,
        depth: float = 0.15,
        min_size: int = 10,
        fill_holes: bool = True,
    ):
        """
        Args:
            threshold: which pixels are foreground. ``"fixed"``: those of at least
                ``threshold_value``. ``"otsu"``: those above Otsu's threshold of the map; a constant
                map has none, and the fixed one is used. ``"hysteresis"``: regions above the lower
                threshold of ``hysteresis`` that somewhere exceed the higher.
            threshold_value: 0–1.
            hysteresis: lower and higher threshold, 0–1.
            method: ``"components"``: connected components. ``"opening"``: components after erosion
                by a disc of ``opening_radius``, dilated back; those that vanish are dropped.
                ``"watershed"``: hills of the distance to the background, or of
                foreground - 2 * border if a border map is given, see
                :func:`nucdet.postprocessing.relief.split_at_saddles`.
            opening_radius: pixels.
            depth: how deep a valley between two hills must be, as a share of the lower hill.
            min_size: instances with fewer pixels are dropped; the watershed splits none off.
            fill_holes: background that one instance encloses becomes part of it.

        Raises:
            InputError: an unknown name, or a value out of range.
        """
        self.threshold = threshold
        self.threshold_value = threshold_value
        self.hysteresis = hysteresis
        self.method = method
        self.opening_radius = opening_radius
        self.depth = depth
        self.min_size = min_size
        self.fill_holes = fill_holes
        for name, value in vars(self).items():
            check_value(f"MODEL.SEPARATION.{name.upper()}", value)
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise InputError(f"MODEL.SEPARATION.METHOD is {method!r}; expected one of {known}")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.SEPARATION
        return {
            "threshold": node.THRESHOLD,
            "threshold_value": node.THRESHOLD_VALUE,
            "hysteresis": tuple(node.HYSTERESIS),
            "method": node.METHOD,
            "opening_radius": node.OPENING_RADIUS,
            "depth": node.DEPTH,
            "min_size": node.MIN_SIZE,
            "fill_holes": node.FILL_HOLES,
        }

    def __call__(
        self, foreground: np.ndarray, border: np.ndarray | None = None
    ) -> tuple[CroppedMasks, np.ndarray]:
        """Separate the nuclei of one image.

        Args:
            foreground: (H, W) float32, finite, probability 0–1 that a pixel belongs to a nucleus,
                including its edge.
            border: (H, W) float32, probability that it belongs to the edge of a nucleus or to the
                gap between two; used by ``"watershed"``.

        Returns:
            N masks that share no pixel, and (N,) float32 scores: the mean foreground probability
            inside each mask.
        """
        mask = self.foreground_mask(foreground)
        labels = METHODS[self.method](self, mask, foreground, border)
        return self._instances(labels, foreground)

    def foreground_mask(self, foreground: np.ndarray) -> np.ndarray:
        """Which pixels are foreground, (H, W) bool."""
        if self.threshold == "hysteresis":
            return apply_hysteresis_threshold(foreground, *self.hysteresis)
        if self.threshold == "otsu" and np.ptp(foreground) > 0:
            return foreground > threshold_otsu(foreground)
        return foreground >= self.threshold_value

    def _instances(
        self, labels: np.ndarray, foreground: np.ndarray
    ) -> tuple[CroppedMasks, np.ndarray]:
        """Masks and scores of the labels that are large enough."""
        labels = without_small(labels, self.min_size)
        masks = CroppedMasks.from_label_map(labels)
        if self.fill_holes and len(masks):
            masks = fill_holes(masks)
            labels = masks.to_label_map()
        inside = np.flatnonzero(labels)  # the background is most of the image
        sums = np.bincount(labels.ravel()[inside] - 1, foreground.ravel()[inside], len(masks))
        return masks, (sums / masks.areas).astype(np.float32)


def _components(
    settings: Separation, mask: np.ndarray, foreground: np.ndarray, border: np.ndarray | None
) -> np.ndarray:
    return cv2.connectedComponents(mask.view(np.uint8), connectivity=4)[1]


def _opening(
    settings: Separation, mask: np.ndarray, foreground: np.ndarray, border: np.ndarray | None
) -> np.ndarray:
    core = _distance(mask) > settings.opening_radius
    away = _distance(~core)
    _, seeds = cv2.connectedComponents(core.view(np.uint8), connectivity=4)
    # flooding in the order of the distance: a pixel goes to the nearest core that reaches it
    return watershed(away, seeds, mask=(away <= settings.opening_radius) & core.any())


def _watershed(
    settings: Separation, mask: np.ndarray, foreground: np.ndarray, border: np.ndarray | None
) -> np.ndarray:
    relief = _distance(mask) if border is None else foreground - 2 * border
    relief = cv2.GaussianBlur(relief, (0, 0), SMOOTHING)
    return split_at_saddles(relief, mask, settings.depth, settings.min_size)


# MODEL.SEPARATION.METHOD -> function of the Separation, the foreground mask (H, W) bool, and the
# foreground and border maps, that returns labels (H, W) int32, where 0 is the background
METHODS: dict[str, Method] = {
    "components": _components,
    "opening": _opening,
    "watershed": _watershed,
}


def without_small(labels: np.ndarray, least: float) -> np.ndarray:
    """Drop labels with fewer than ``least`` pixels and renumber the others without gaps.

    Args:
        labels: (H, W) integers, 0 = background.
        least: pixels.

    Returns:
        (H, W) int32, 1 … n in the order of the old labels.
    """
    kept = np.bincount(labels.ravel()) >= max(least, 1)
    kept[0] = False
    return (np.cumsum(kept) * kept).astype(np.int32)[labels]


def _distance(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest one outside the mask, (H, W) float32.

    Only pixels of the image count as outside; if there are none, all distances are 1e6.
    """
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.minimum(distance, np.float32(1e6))
