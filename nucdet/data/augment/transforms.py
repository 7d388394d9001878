"""Geometric transforms of images and label maps.

Each applies the same mapping of coordinates to both: images are sampled bilinearly, labels by
nearest neighbor. Coordinates are (x, y) and continuous: the top left pixel covers [0, 1) × [0, 1).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

# A warped grid may extend beyond the edge by half a pixel: reflect there, in image and labels
_BORDER = cv2.BORDER_REFLECT_101


class AffineTransform(Transform):
    """A similarity from input to output, sampled once."""

    def __init__(self, matrix: np.ndarray, size: tuple[int, int]):
        """
        Args:
            matrix: (2, 3), maps input (x, y) to output (x, y); continuous coordinates in which the
                top left pixel covers [0, 1) × [0, 1).
            size: (height, width) of the output.
        """
        super().__init__()
        self.matrix = np.asarray(matrix, np.float64)
        self.size = size
        # OpenCV counts from the center of the top left pixel
        linear = self.matrix[:, :2]
        shift = self.matrix[:, 2] + linear @ (0.5, 0.5) - 0.5
        self._cv_matrix = np.column_stack([linear, shift])

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        zoom = math.sqrt(abs(np.linalg.det(self.matrix[:, :2])))
        if zoom < 1:
            # bilinear sampling reads 2×2 pixels, so details finer than the new grid are removed
            img = cv2.GaussianBlur(img, (0, 0), 0.4 * math.sqrt(1 / zoom**2 - 1) + 1e-3)
        return self._warp(img, cv2.INTER_LINEAR)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self._warp(segmentation, cv2.INTER_NEAREST)

    def _warp(self, img: np.ndarray, interpolation: int) -> np.ndarray:
        height, width = self.size
        return cv2.warpAffine(
            img, self._cv_matrix, (width, height), flags=interpolation, borderMode=_BORDER
        )

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords @ self.matrix[:, :2].T + self.matrix[:, 2]


class ResizeTransform(T.ResizeTransform):
    """Detectron2's antialiased resize, with labels sampled at the same places as the image.

    Detectron2 takes the label at the top left corner of each new pixel instead of at its center,
    which shifts masks by half a pixel relative to the image.
    """

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        size = (self.new_w, self.new_h)
        return cv2.resize(segmentation, size, interpolation=cv2.INTER_NEAREST_EXACT)


class TurnTransform(Transform):
    """Counter-clockwise rotation by ``turns`` × 90°, exact to the pixel."""

    def __init__(self, height: int, width: int, turns: int):
        super().__init__()
        self.height, self.width, self.turns = height, width, turns % 4

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(img, self.turns))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self.apply_image(segmentation)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        x, y = coords[:, 0], coords[:, 1]
        turned = {
            0: (x, y),
            1: (y, self.width - x),
            2: (self.width - x, self.height - y),
            3: (self.height - y, x),
        }[self.turns]
        return np.stack(turned, axis=1)


class DisplacementTransform(Transform):
    """Every output pixel p gets the input's value at p + displacement(p)."""

    def __init__(self, displacement: np.ndarray):
        """
        Args:
            displacement: float32 (H, W, 2), (dx, dy) in pixels.
        """
        super().__init__()
        self.displacement = displacement
        ys, xs = np.mgrid[: displacement.shape[0], : displacement.shape[1]].astype(np.float32)
        self._map = np.stack([xs, ys], axis=-1) + displacement

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return cv2.remap(img, self._map, None, cv2.INTER_LINEAR, borderMode=_BORDER)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return cv2.remap(segmentation, self._map, None, cv2.INTER_NEAREST, borderMode=_BORDER)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        # the inverse map by fixed-point iteration; the displacement is smooth and small
        height, width = self.displacement.shape[:2]
        result = coords.astype(np.float64)
        for _ in range(10):
            columns = np.clip(result[:, 0].astype(int), 0, width - 1)
            rows = np.clip(result[:, 1].astype(int), 0, height - 1)
            result = coords - self.displacement[rows, columns]
        return result
