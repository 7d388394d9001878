"""The training targets of center voting: foreground, depth and offset of each pixel."""

from __future__ import annotations

import cv2
import numpy as np

from nucdet.structures import CroppedMasks

# the maps of a target, in their order
FOREGROUND, DEPTH, OFFSET_Y, OFFSET_X, WEIGHT = range(5)


def center_targets(masks: CroppedMasks) -> np.ndarray:
    """Make the five maps that a center-voting network is trained on from instance masks.

    - foreground: 1 inside any mask, else 0;
    - depth: distance to the outside of the pixel's mask, divided by the largest in that mask: 1 at
      the innermost pixel, near 0 at the outline and where two nuclei touch;
    - offset: (dy, dx) in pixels from the pixel to the center of its nucleus, see :func:`center`;
    - weight: of the pixel in the losses of depth and offset, 1 / sqrt(area of its nucleus), scaled
      to a mean of 1 over the foreground; 0 outside. Without weights, one large nucleus would count
      as much as twenty small ones, while the score counts each nucleus once.

    Where masks overlap, the later one gets the pixel.

    Args:
        masks: N masks of one image of H × W pixels.

    Returns:
        (5, H, W) float32.
    """
    maps = np.zeros((5, *masks.image_size), np.float32)
    for (rows, columns), crop in zip(masks.slices(), masks.crops, strict=True):
        if not crop.any():
            continue
        # the frame of False keeps the edge of the image from counting as the inside of a nucleus
        framed = np.pad(crop, 1).view(np.uint8)
        depth = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        y, x = center(crop)
        window = maps[:, rows, columns]
        window[FOREGROUND][crop] = 1
        window[DEPTH][crop] = (depth / depth.max())[crop]
        inside_y, inside_x = np.nonzero(crop)
        window[OFFSET_Y][crop] = y - inside_y
        window[OFFSET_X][crop] = x - inside_x
        window[WEIGHT][crop] = len(inside_y) ** -0.5
    inside = maps[FOREGROUND] > 0
    if inside.any():
        maps[WEIGHT] /= maps[WEIGHT][inside].mean()
    return maps


def center(mask: np.ndarray) -> tuple[float, float]:
    """The centroid of a mask or, if it lies outside the mask, the mask's pixel nearest to it.

    Args:
        mask: (h, w) bool with at least one pixel.

    Returns:
        (y, x) in pixels, where (0, 0) is the center of the first pixel.

    Example:
        >>> center(np.array([[1, 1, 1], [1, 0, 0], [1, 1, 1]], bool))
        (1.0, 0.0)
    """
    ys, xs = np.nonzero(mask)
    y, x = float(ys.mean()), float(xs.mean())
    if not mask[round(y), round(x)]:
        nearest = np.argmin((ys - y) ** 2 + (xs - x) ** 2)
        y, x = float(ys[nearest]), float(xs[nearest])
    return y, x
