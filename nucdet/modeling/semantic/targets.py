"""The training targets of semantic segmentation: a class for each pixel, from instance masks."""

from __future__ import annotations

import cv2
import numpy as np
from detectron2.config import CfgNode, configurable

from nucdet.modeling.semantic.losses import find_loss
from nucdet.structures import CroppedMasks

BACKGROUND, BODY, BORDER = 0, 1, 2

# U-Net's w0 for losses that use pixel weights (its paper, section 3)
_WEIGHT_HEIGHT = 10.0
# in units of the weights' sigma; beyond it weights exceed 1 by less than 0.012 w0
_REACH_OF_WEIGHTS = 3.0


class SemanticTargets:
    """Makes class labels (0 background, 1 body, 2 border) and pixel weights from instance masks.

    Distances are Euclidean between pixel centers, so neighboring pixels have a distance of 1.
    """

    @configurable
    def __init__(
        self,
        *,
        border: bool,
        border_width: float = 3.0,
        border_gap: float = 5.0,
        border_share: float = 0.5,
        weight_height: float = 0.0,
        weight_sigma: float = 5.0,
    ):
        """
        Args:
            border: whether there is a third class, border, where two nuclei meet.
            border_width: pixels of a nucleus are border up to this distance from another nucleus.
            border_gap: a background pixel is border if the distances to its two nearest nuclei
                add up to at most this.
            border_share: limits ``border_width`` to this share of the radius of the largest
                inscribed circle of the nucleus; below 1, so that the smallest keep a body pixel.
            weight_height: w0 of :func:`border_weights`; 0: there are no weights.
            weight_sigma: σ of :func:`border_weights`.

        Widths, gaps and σ are in pixels of the image as the network sees it.
        """
        self.border, self.border_share = border, border_share
        self.border_width, self.border_gap = border_width, border_gap
        self.weight_height, self.weight_sigma = weight_height, weight_sigma

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        return {
            "border": cfg.MODEL.SEGMENTATION.NUM_CHANNELS > 1,
            "weight_height": _WEIGHT_HEIGHT if find_loss(cfg).weighted else 0.0,
        }

    def __call__(self, masks: CroppedMasks) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels (H, W) int64, and weights (H, W) float32 or None, of an image's N masks."""
        reach = max(self.border_width, self.border_gap) if self.border else 0.0
        if self.weight_height > 0:
            reach = max(reach, _REACH_OF_WEIGHTS * self.weight_sigma)
        nearest, second = two_nearest(masks, reach) if reach else (None, None)
        labels = self._labels(masks, nearest, second)
        if not self.weight_height > 0:
            return labels, None
        return labels, border_weights(nearest, second, self.weight_height, self.weight_sigma)

    def _labels(
        self, masks: CroppedMasks, nearest: np.ndarray | None, second: np.ndarray | None
    ) -> np.ndarray:
        labels = np.zeros(masks.image_size, np.int64)
        if self.border:
            labels[(nearest > 0) & (nearest + second <= self.border_gap)] = BORDER
        for box, crop in zip(masks.slices(), masks.crops, strict=True):
            if not self.border:
                labels[box][crop] = BODY
                continue
            padded, inner = _padded(crop, box, _grown(box, 1, masks.image_size))
            depth = _distance(padded)[inner]
            width = min(self.border_width, self.border_share * float(depth[crop].max(initial=0)))
            # for a pixel of a nucleus the nearest mask is its own, and the second nearest another
            labels[box][crop] = np.where(second[box][crop] <= width, BORDER, BODY)
        return labels


def two_nearest(masks: CroppedMasks, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each pixel to its nearest and its second nearest mask.

    Args:
        masks: N masks of one image of H × W pixels.
        reach: pixels up to which distances are exact.

    Returns:
        Two (H, W) float32 in pixels: the nearest is 0 inside a mask, both are 0 where two masks
        overlap. Values beyond ``reach`` may be too large or infinite.
    """
    nearest = np.full(masks.image_size, np.inf, np.float32)
    second = nearest.copy()
    for box, crop in zip(masks.slices(), masks.crops, strict=True):
        if not crop.size:
            continue
        window = _grown(box, int(np.ceil(reach)), masks.image_size)
        distance = _distance(~_padded(crop, box, window)[0])
        one, two = nearest[window], second[window]
        np.minimum(two, np.maximum(one, distance), out=two)
        np.minimum(one, distance, out=one)
    return nearest, second


def border_weights(
    nearest: np.ndarray, second: np.ndarray, height: float, sigma: float
) -> np.ndarray:
    """U-Net's pixel weights (Ronneberger et al., MICCAI 2015, equation 2), with w_c = 1.

    w = 1 + w0 · exp(−(d1 + d2)² / 2σ²) with d1, d2 from :func:`two_nearest`. Inside a nucleus d1 is
    0, so pixels where two nuclei touch also get larger weights; in the paper's data there is always
    a background pixel between them.

    Args:
        nearest, second: d1 and d2, (H, W) float32, pixels.
        height: w0.
        sigma: σ, pixels.

    Returns:
        (H, W) float32.

    Example:
        >>> border_weights(np.float32([[0, 1]]), np.float32([[np.inf, 1]]), 10, 2).round(2).tolist()
        [[1.0, 7.070000171661377]]
    """
    total = nearest + second
    return (1 + height * np.exp(-(total**2) / (2 * sigma**2))).astype(np.float32)


Box = tuple[slice, slice]


def _grown(box: Box, by: int, size: tuple[int, int]) -> Box:
    """The box enlarged by some pixels on all sides, clipped to an image of (height, width)."""
    rows, columns = (
        slice(max(0, side.start - by), min(length, side.stop + by))
        for side, length in zip(box, size, strict=True)
    )
    return rows, columns


def _padded(crop: np.ndarray, box: Box, window: Box) -> tuple[np.ndarray, Box]:
    """The crop padded with False to the window, and the position of its box in the window."""
    (y0, x0), (rows, columns) = [side.start for side in window], box
    inner = slice(rows.start - y0, rows.stop - y0), slice(columns.start - x0, columns.stop - x0)
    padded = np.zeros([side.stop - side.start for side in window], bool)
    padded[inner] = crop
    return padded, inner


def _distance(inside: np.ndarray) -> np.ndarray:
    """Distance of each True pixel to the nearest False one, float32; huge where there is none."""
    return cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
