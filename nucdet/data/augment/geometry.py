"""Geometric augmentations with Detectron2's interface, configured by INPUT.AUGMENTATION."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from nucdet.data.augment.registry import GEOMETRIC
from nucdet.data.augment.transforms import (
    AffineTransform,
    DisplacementTransform,
    ResizeTransform,
    TurnTransform,
)
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

# Zoom factor for an image of (height, width)
ResizeRule = Callable[[int, int], float]

# limit of the zoom: nuclei of a few pixels gain nothing from more, and time grows with its square
MOST_ZOOM = 4.0


def build_geometric(cfg: CfgNode) -> list[T.Augmentation | Transform]:
    """The training augmentations of INPUT that move pixels and masks.

    Raises:
        InputError: a key has an invalid value.
    """
    aug = cfg.INPUT.AUGMENTATION
    geometric = [
        RandomWindow(
            _resize_rule(cfg, cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN),
            crop=_crop_size(cfg),
            scale_jitter=aug.SCALE_JITTER,
            rotation=aug.ROTATION,
            rotation_prob=aug.ROTATION_PROB,
            nucleus_diameter=_nucleus_diameter(cfg),
            on_nuclei=aug.CROP_ON_NUCLEI,
        ),
        *_flips(cfg),
    ]
    if aug.TURN_90:
        geometric.append(RandomTurn90())
    if aug.ELASTIC.PROB > 0:
        warp = RandomElastic(aug.ELASTIC.ALPHA, aug.ELASTIC.SIGMA)
        geometric.append(T.RandomApply(warp, aug.ELASTIC.PROB))
    return [*geometric, *(augmentation for build in GEOMETRIC for augmentation in build(cfg))]


def evaluation_resize(cfg: CfgNode) -> ResizeRule:
    """The resize of evaluation and prediction: INPUT.MIN_SIZE_TEST by INPUT.RESIZE_RULE."""
    return _resize_rule(cfg, (cfg.INPUT.MIN_SIZE_TEST,), cfg.INPUT.MAX_SIZE_TEST)


@dataclass(frozen=True)
class Nuclei:
    """Facts about an image's nuclei on which its window may depend; ``nuclei`` of an ``AugInput``.

    Attributes:
        diameter: median, in pixels of the image, of the diameters of discs with the nuclei's areas.
        centers: (N, 2) float, (y, x) of the centers of their bounding boxes, N > 0.
    """

    diameter: float
    centers: np.ndarray

    @classmethod
    def of_masks(cls, masks: CroppedMasks) -> Nuclei | None:
        """From the masks of an image; None if all are empty or there are none."""
        masks = masks[masks.nonempty()]
        if not len(masks):
            return None
        x0, y0, x1, y1 = masks.boxes.T
        diameter = float(np.median(2 * np.sqrt(masks.areas / np.pi)))
        return cls(diameter, np.column_stack([y0 + y1, x0 + x1]) / 2)


class RandomWindow(T.Augmentation):
    """Resize, scale jitter, rotation and crop as one window of the image, sampled only once.

    The window always lies inside the image: if a rotated window would extend beyond its edge, the
    zoom is increased until it does not, so that no corner shows pixels from outside the image.
    """

    def __init__(
        self,
        resize: ResizeRule,
        *,
        crop: Callable[[int, int], tuple[int, int]] | None = None,
        scale_jitter: tuple[float, float] = (1.0, 1.0),
        rotation: float = 0.0,
        rotation_prob: float = 0.5,
        nucleus_diameter: float | None = None,
        on_nuclei: float = 0.0,
    ):
        """
        Args:
            resize: gives the zoom factor for (height, width).
            crop: gives (height, width) of the crop for those of the resized image; None: no crop.
            scale_jitter: the zoom is multiplied by a number from this range, log-uniform.
            rotation: largest angle in degrees, drawn uniformly to both sides.
            rotation_prob: share of the images that are rotated.
            nucleus_diameter: pixels to which the median diameter of an image's nuclei is zoomed,
                before the jitter; if None, or if the ``AugInput`` has no ``nuclei``, ``resize``
                gives the zoom.
            on_nuclei: share of the windows that are placed around a randomly drawn nucleus, so that
                few are empty and crowded regions are seen more often. Its center is in the window's
                bounding box, hence not always in a rotated window.
        """
        super().__init__()
        self.resize, self.crop, self.rotation = resize, crop, rotation
        self.scale_jitter, self.rotation_prob = scale_jitter, rotation_prob
        self.nucleus_diameter, self.on_nuclei = nucleus_diameter, on_nuclei

    def __call__(self, aug_input: T.AugInput) -> Transform:
        transform = self._transform(aug_input.image, getattr(aug_input, "nuclei", None))
        aug_input.transform(transform)
        return transform

    def get_transform(self, image: np.ndarray) -> Transform:
        return self._transform(image, None)

    def _transform(self, image: np.ndarray, nuclei: Nuclei | None) -> Transform:
        height, width = image.shape[:2]
        low, high = np.log(self.scale_jitter)
        if self.nucleus_diameter is not None and nuclei:
            zoom = min(self.nucleus_diameter / nuclei.diameter, MOST_ZOOM)
        else:
            zoom = self.resize(height, width)
        zoom *= math.exp(np.random.uniform(low, high))
        angle = 0.0
        if self.rotation > 0 and np.random.rand() < self.rotation_prob:
            angle = math.radians(np.random.uniform(-self.rotation, self.rotation))
        out_h, out_w = max(1, round(height * zoom)), max(1, round(width * zoom))
        if self.crop is not None:
            out_h, out_w = self.crop(out_h, out_w)

        cos, sin = math.cos(angle), math.sin(angle)
        # bounding box of the rotated window, in pixels of the output …
        box_w = out_w * abs(cos) + out_h * abs(sin)
        box_h = out_w * abs(sin) + out_h * abs(cos)
        # … must fit into the image, up to the half pixel by which the output's size is rounded
        if angle or max(box_w - width * zoom, box_h - height * zoom) > 0.5:
            zoom = max(zoom, box_w / width, box_h / height)
        y, x = None, None
        if self.on_nuclei > 0 and nuclei and np.random.rand() < self.on_nuclei:
            y, x = nuclei.centers[np.random.randint(len(nuclei.centers))]
        center_x = _draw_center(width, box_w / zoom, x)
        center_y = _draw_center(height, box_h / zoom, y)
        linear = zoom * np.array([[cos, -sin], [sin, cos]])
        shift = np.array([out_w / 2, out_h / 2]) - linear @ (center_x, center_y)
        if angle == 0:
            shift = np.round(shift)  # so that a crop without zoom copies pixels unchanged
        return AffineTransform(np.column_stack([linear, shift]), (out_h, out_w))


def _draw_center(length: float, window: float, around: float | None) -> float:
    """Draw the center of a window that lies inside the image and contains ``around``, if given."""
    free = max(0.0, length - window)
    low, high = (length - free) / 2, (length + free) / 2
    if around is not None:
        low, high = (min(max(around + side * window / 2, low), high) for side in (-1, 1))
    return np.random.uniform(low, high)


class Resize(T.Augmentation):
    """An antialiased resize by a zoom factor that depends on the size of the image."""

    def __init__(self, rule: ResizeRule):
        super().__init__()
        self.rule = rule

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        zoom = self.rule(height, width)
        size = max(1, round(height * zoom)), max(1, round(width * zoom))
        if size == (height, width):
            return NoOpTransform()
        return ResizeTransform(height, width, *size)


class RandomTurn90(T.Augmentation):
    """A turn by 0°, 90°, 180° or 270°."""

    def get_transform(self, image: np.ndarray) -> Transform:
        return TurnTransform(*image.shape[:2], turns=np.random.randint(4))


class RandomElastic(T.Augmentation):
    """Elastic deformation (Simard et al., ICDAR 2003) by a random field smoothed by a Gaussian."""

    def __init__(self, alpha: float, sigma: float):
        """
        Args:
            alpha: standard deviation of the displacement, pixels.
            sigma: standard deviation of the smoothing Gaussian, pixels.
        """
        super().__init__()
        self.alpha, self.sigma = alpha, sigma

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        # The field is so smooth that it can be drawn on a coarse grid and enlarged
        step = max(1, int(self.sigma / 3))
        shape = (height // step + 2, width // step + 2, 2)
        field = np.random.standard_normal(shape).astype(np.float32)
        field = cv2.GaussianBlur(field, (0, 0), self.sigma / step)
        field *= self.alpha / max(float(field.std()), 1e-6)
        return DisplacementTransform(cv2.resize(field, (width, height)))


def _resize_rule(cfg: CfgNode, sizes: tuple[int, ...], max_size: int) -> ResizeRule:
    rule, style = cfg.INPUT.RESIZE_RULE, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    if rule not in ("shortest_edge", "enlarge", "diameter"):
        raise InputError(
            f"INPUT.RESIZE_RULE is {rule!r}, expected 'shortest_edge', 'enlarge' or 'diameter'"
        )

    def zoom(height: int, width: int) -> float:
        # nothing is drawn for a single size, so that evaluation does not change the random state
        if len(sizes) == 1:
            size = sizes[0]
        elif style == "range":
            size = np.random.randint(sizes[0], sizes[1] + 1)
        else:
            size = np.random.choice(sizes)
        if size == 0:  # Detectron2's way to switch resizing off
            return 1.0
        factor = size / min(height, width)
        factor = min(factor, max_size / max(height, width))
        return factor if rule == "shortest_edge" else max(1.0, factor)

    return zoom


def _nucleus_diameter(cfg: CfgNode) -> float | None:
    return cfg.TEST.NUCLEUS_DIAMETER if cfg.INPUT.RESIZE_RULE == "diameter" else None


def _crop_size(cfg: CfgNode) -> Callable[[int, int], tuple[int, int]] | None:
    if not cfg.INPUT.CROP.ENABLED:
        return None
    kind, (crop_h, crop_w) = cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE
    if kind == "absolute":
        return lambda h, w: (min(h, int(crop_h)), min(w, int(crop_w)))
    if kind == "absolute_fill":
        return lambda h, w: (int(crop_h), int(crop_w))
    if kind == "relative":
        return lambda h, w: (max(1, int(h * crop_h)), max(1, int(w * crop_w)))
    raise InputError(
        f"INPUT.CROP.TYPE is {kind!r}, expected 'absolute', 'absolute_fill' or 'relative'"
    )


def _flips(cfg: CfgNode) -> list[T.Augmentation]:
    directions = {
        "none": (),
        "horizontal": ("horizontal",),
        "vertical": ("vertical",),
        "both": ("horizontal", "vertical"),
    }
    if cfg.INPUT.RANDOM_FLIP not in directions:
        raise InputError(
            f"INPUT.RANDOM_FLIP is {cfg.INPUT.RANDOM_FLIP!r}, expected one of {list(directions)}"
        )
    chosen = directions[cfg.INPUT.RANDOM_FLIP]
    return [T.RandomFlip(horizontal=d == "horizontal", vertical=d == "vertical") for d in chosen]
