"""A feature pyramid network that also returns the image, for heads that cut crops from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import FPN
from torch import Tensor

from nucdet.layers.stretching import stretch
from nucdet.modeling.backbones.timm_fpn import fpn_arguments


class FPNWithImage(FPN):
    """An FPN with one more map, ``"image"``: the grey image, (N, 1, H, W) float32, 0–1.

    Its parameters have the same names as those of an FPN, so checkpoints fit both.
    """

    def __init__(
        self,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        stretch: bool = True,
        **kwargs: Any,
    ):
        """
        Args:
            pixel_mean, pixel_std: C values by which the input was normalized, on the scale 0–255.
            stretch: whether "image" goes through :func:`stretch`.
            kwargs: see :class:`FPN`.
        """
        super().__init__(**kwargs)
        self.stretch = stretch
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {**super().output_shape(), "image": ShapeSpec(channels=1, stride=1)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The pyramid's maps and ``"image"`` of normalized images (N, C, H, W)."""
        grey = (x * self.pixel_std + self.pixel_mean).mean(dim=1, keepdim=True) / 255
        return {**super().forward(x), "image": stretch(grey) if self.stretch else grey}


@BACKBONE_REGISTRY.register()
def build_timm_fpn_with_image_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPNWithImage:
    """The pyramid of ``build_timm_fpn_backbone`` with the map "image"."""
    return FPNWithImage(
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        stretch=cfg.MODEL.CROP_RCNN.STRETCH,
        **fpn_arguments(cfg, input_shape),
    )
