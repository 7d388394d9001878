"""The heads of report 000: a filter for proposals, and masks from crops of the image."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import ROIHeads, build_mask_head
from detectron2.structures import ImageList, Instances
from torch import Tensor, nn

from nucdet.modeling.crop_rcnn.crops import (
    CROP_SIZE,
    JITTER,
    NUCLEI_PER_IMAGE,
    cut_crops,
    jitter_boxes,
    random_indices,
)
from nucdet.modeling.crop_rcnn.nucleus_filter import NucleusFilter, build_nucleus_filter


@ROI_HEADS_REGISTRY.register()
class CropROIHeads(ROIHeads):
    """A filter and a mask network that take crops of the image and share no weights.

    Detections have the boxes of the proposals and, as scores, the sigmoid of their objectness
    logits. The only feature map used is "image". Parts in evaluation mode give no losses.
    """

    @configurable
    def __init__(
        self,
        *,
        nucleus_filter: NucleusFilter | None,
        mask_head: nn.Module,
        test_score_thresh: float,
        test_topk_per_image: int,
        **kwargs: Any,
    ):
        """
        Args:
            nucleus_filter: None: every proposal is kept.
            mask_head: one of ROI_MASK_HEAD_REGISTRY that takes crops.
            test_score_thresh: lowest score of a detection, after rescoring.
            test_topk_per_image: most detections kept; those with the highest scores are taken.
            kwargs: see :class:`ROIHeads`.
        """
        super().__init__(**kwargs)
        self.nucleus_filter, self.mask_head = nucleus_filter, mask_head
        self.test_score_thresh = test_score_thresh
        self.test_topk_per_image = test_topk_per_image
        self.mask_on = True

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        image = ShapeSpec(channels=input_shape["image"].channels, height=CROP_SIZE, width=CROP_SIZE)
        return {
            **super().from_config(cfg),
            "nucleus_filter": build_nucleus_filter(cfg),
            "mask_head": build_mask_head(cfg, image),
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
        others: Tensor | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See :meth:`ROIHeads.forward`; ``others``: see :meth:`NucleusFilter.losses`."""
        image = features["image"]
        if not self.training:
            found = self.keep(image, self.detections(proposals))
            return self.forward_with_given_boxes(features, found), {}
        losses: dict[str, Tensor] = {}
        if self.nucleus_filter is not None and self.nucleus_filter.training:
            losses |= self.nucleus_filter.losses(image, proposals, targets, others)
        if self.mask_head.training:
            losses |= self._mask_losses(image, targets)
        return proposals, losses

    def _mask_losses(self, image: Tensor, targets: list[Instances]) -> dict[str, Tensor]:
        chosen = []
        for truth in targets:
            truth = truth[random_indices(len(truth), NUCLEI_PER_IMAGE, image.device)]
            truth.proposal_boxes = jitter_boxes(truth.gt_boxes, JITTER, truth.image_size)
            chosen.append(truth)
        boxes = [truth.proposal_boxes.tensor for truth in chosen]
        return self.mask_head(cut_crops(image, boxes, CROP_SIZE), chosen)

    def detections(self, proposals: list[Instances]) -> list[Instances]:
        """Proposals as detections of class 0; those below ``test_score_thresh`` are left out."""
        found = []
        for proposed in proposals:
            scores = proposed.objectness_logits.float().sigmoid()
            detected = Instances(proposed.image_size)
            detected.pred_boxes, detected.scores = proposed.proposal_boxes, scores
            detected.pred_classes = torch.zeros_like(scores, dtype=torch.int64)
            found.append(self._above_threshold(detected))
        return found

    def keep(self, image: Tensor, found: list[Instances]) -> list[Instances]:
        """Up to ``test_topk_per_image`` detections that the filter keeps, highest scores first.

        Args:
            image: (N, 1, H, W) float32, 0–1.
            found: of each image, as from :meth:`detections`.
        """
        if self.nucleus_filter is not None:
            found = self.nucleus_filter.filtered(image, found)
        kept = []
        for detected in map(self._above_threshold, found):
            order = detected.scores.argsort(descending=True, stable=True)
            kept.append(detected[order[: self.test_topk_per_image]])
        return kept

    def _above_threshold(self, detected: Instances) -> Instances:
        return detected[detected.scores >= self.test_score_thresh]

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add ``pred_masks``, probabilities (N, 1, M, M), to instances with ``pred_boxes``."""
        if not self.mask_on:
            return instances
        boxes = [found.pred_boxes.tensor for found in instances]
        return self.mask_head(cut_crops(features["image"], boxes, CROP_SIZE), instances)
