"""Mask R-CNN's heads with the nucleus filter and the crop mask heads of report 000."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import ImageList, Instances
from torch import Tensor

from nucdet.modeling.crop_rcnn.nucleus_filter import NucleusFilter, build_nucleus_filter


@ROI_HEADS_REGISTRY.register()
class ImageROIHeads(StandardROIHeads):
    """StandardROIHeads whose mask head and filter may use the image itself, feature map "image".

    With MODEL.ROI_MASK_HEAD.IN_FEATURES ("image",) the mask head gets crops of the image. Unless
    MODEL.NUCLEUS_FILTER.MODE is "off", a :class:`NucleusFilter` drops or rescores detections.
    Without either it is StandardROIHeads.
    """

    @configurable
    def __init__(self, *, nucleus_filter: NucleusFilter | None, **kwargs: Any):
        """
        Args:
            nucleus_filter: None: detections are neither dropped nor rescored.
            kwargs: see :class:`StandardROIHeads`.
        """
        super().__init__(**kwargs)
        self.nucleus_filter = nucleus_filter

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        nucleus_filter = build_nucleus_filter(cfg)
        return {**super().from_config(cfg, input_shape), "nucleus_filter": nucleus_filter}

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.ROI_HEADS.IN_FEATURES = list(cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES)
        return super()._init_mask_head(cfg, input_shape)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See :class:`StandardROIHeads`; with a filter, its ``loss_filter`` is among the losses."""
        results, losses = super().forward(images, features, proposals, targets)
        if self.training and self.nucleus_filter is not None:
            losses |= self.nucleus_filter.losses(features["image"], proposals, targets)
        return results, losses

    def _forward_box(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        result = super()._forward_box(features, proposals)
        if self.training or self.nucleus_filter is None:
            return result
        found = self.nucleus_filter.filtered(features["image"], result)
        threshold = self.box_predictor.test_score_thresh
        return [detected[detected.scores > threshold] for detected in found]
