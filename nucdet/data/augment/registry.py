"""Augmentations from outside nucdet, which follow those of INPUT.AUGMENTATION in training.

A function makes them of the config, in which it finds keys of its own::

    @photometric_augmentation
    def posterize(cfg: CfgNode) -> list[T.Augmentation]:
        share = cfg.INPUT.AUGMENTATION.POSTERIZE_PROB
        return [T.RandomApply(Photometric(lambda: lambda image: image & 0xE0), share)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

Builder = Callable[[CfgNode], Sequence[T.Augmentation | Transform]]

GEOMETRIC: list[Builder] = []
PHOTOMETRIC: list[Builder] = []


def geometric_augmentation(build: Builder) -> Builder:
    """Decorator: the function builds augmentations that move pixels.

    The nuclei are warped with the image, as a label map (H, W) float32: ``apply_segmentation`` of
    their transforms must not mix neighboring values.
    """
    GEOMETRIC.append(build)
    return build


def photometric_augmentation(build: Builder) -> Builder:
    """Decorator: the function builds augmentations that change only the values of an image.

    Images are uint8 RGB (H, W, 3), perhaps with nuclei of other images pasted in. Such an
    augmentation may be a :class:`nucdet.data.augment.photometry.Photometric`.
    """
    PHOTOMETRIC.append(build)
    return build
