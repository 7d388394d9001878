"""Random augmentations behind Detectron2's interface, with parameters from INPUT.AUGMENTATION."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from nucdet.data.augment.photometry import build_photometric
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

# nuclei of a few pixels gain nothing from more, and the time grows with its square
MOST_ZOOM = 4.0


def build_train_augmentation(cfg: CfgNode) -> list[T.Augmentation | Transform]:
    """The training augmentations that INPUT asks for, geometric ones first.

    Raises:
        InputError: a key has a value that none of the augmentations understands.
    """
    return build_geometric(cfg) + build_photometric(cfg.INPUT.AUGMENTATION)


def build_geometric(cfg: CfgNode) -> list[T.Augmentation | Transform]:
    """Those of :func:`build_train_augmentation` that move pixels and masks."""
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
    return geometric


def build_test_augmentation(cfg: CfgNode) -> list[T.Augmentation | Transform]:
    """The resize of evaluation and prediction: INPUT.MIN_SIZE_TEST by INPUT.RESIZE_RULE."""
    rule = _resize_rule(cfg, (cfg.INPUT.MIN_SIZE_TEST,), cfg.INPUT.MAX_SIZE_TEST)
    return [Resize(rule)]


@dataclass(frozen=True)
class Nuclei:
    """What the window of an image may depend on; set as ``nuclei`` of an ``AugInput``.

    Attributes:
        diameter: median, in pixels of the image, of the discs that have the nuclei's areas.
        centers: (N, 2) float, (y, x) of their bounding boxes, N > 0.
    """

    diameter: float
    centers: np.ndarray

    @classmethod
    def of_masks(cls, masks: CroppedMasks) -> Nuclei | None:
        """None where there are no masks with a pixel."""
        masks = masks[masks.nonempty()]
        if not len(masks):
            return None
        x0, y0, x1, y1 = masks.boxes.T
        diameter = float(np.median(2 * np.sqrt(masks.areas / np.pi)))
        return cls(diameter, np.column_stack([y0 + y1, x0 + x1]) / 2)


class RandomWindow(T.Augmentation):
    """Resize, scale jitter, rotation and crop as one window into the image, sampled once.

    The window always lies inside the image: where a rotated window would reach over its edge,
    the zoom grows until it does not, so no corner from outside the image shows.
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
            resize: zoom factor by (height, width).
            crop: (height, width) of the crop by that of the resized image; None: all of it.
            scale_jitter: the zoom is multiplied by a number from this range, log-uniform.
            rotation: largest angle in degrees, drawn uniformly to both sides.
            rotation_prob: share of the images that are rotated.
            nucleus_diameter: pixels that the median diameter of an image's nuclei becomes, before
                the jitter; None, or where the ``AugInput`` has no ``nuclei``: ``resize``.
            on_nuclei: share of the windows that lie around a nucleus drawn at random, so that few
                are empty and crowded places are seen more often.
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
        # bounding box of the turned window, in pixels of the output …
        box_w = out_w * abs(cos) + out_h * abs(sin)
        box_h = out_w * abs(sin) + out_h * abs(cos)
        # … has to fit into the image (up to the rounding of the output's size)
        needed = max(box_w / width, box_h / height)
        if angle or needed > zoom * 1.02:
            zoom = max(zoom, needed)
        y, x = None, None
        if self.on_nuclei > 0 and nuclei and np.random.rand() < self.on_nuclei:
            y, x = nuclei.centers[np.random.randint(len(nuclei.centers))]
        center_x = _draw_center(width, box_w / zoom, x)
        center_y = _draw_center(height, box_h / zoom, y)
        linear = zoom * np.array([[cos, -sin], [sin, cos]])
        shift = np.array([out_w / 2, out_h / 2]) - linear @ (center_x, center_y)
        if angle == 0:
            shift = np.round(shift)  # a crop alone then takes pixels as they are
        return AffineTransform(np.column_stack([linear, shift]), (out_h, out_w))


def _draw_center(length: float, window: float, around: float | None) -> float:
    """Of a window that lies inside the image and, where it is given, has ``around`` in it."""
    free = max(0.0, length - window)
    low, high = (length - free) / 2, (length + free) / 2
    if around is not None:
        low, high = (min(max(around + side * window / 2, low), high) for side in (-1, 1))
    return np.random.uniform(low, high)


class Resize(T.Augmentation):
    """An antialiased resize by a zoom factor that depends on the image's size."""

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
    """Elastic deformation (Simard et al., ICDAR 2003): a random field, smoothed by a Gaussian."""

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
        # The field is so smooth that it is drawn on a coarse grid and enlarged
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
        # one size needs no draw, so that evaluation does not touch the random state
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
