"""The region proposal network of report 000, which is trained differently from Faster R-CNN's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F

from nucdet.modeling.mask_rcnn.dense_rpn import DenseRPN


@PROPOSAL_GENERATOR_REGISTRY.register()
class CropRPN(DenseRPN):
    """DenseRPN with the same parameters, but with the report's sampling of anchors and losses.

    - An anchor is positive if its IoU with a nucleus is greater than the upper of
      MODEL.RPN.IOU_THRESHOLDS, negative if its IoU with every nucleus is below the lower one, else
      ignored. This includes the best anchor of a nucleus.
    - An image contributes as many negatives as positives, together at most BATCH_SIZE_PER_IMAGE;
      without positives, half as many negatives as that. Detectron2 fills up with negatives instead.
    - Anchors that cross the border of the image are ignored in training (BOUNDARY_THRESH 0); in
      inference their proposals are clipped.
    - Losses are means: over the sampled anchors, and over the four box deltas of the positive ones.

    The report has a softmax over two outputs per anchor; a sigmoid of one is the same function.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        arguments = super().from_config(cfg, input_shape)
        low, high = cfg.MODEL.RPN.IOU_THRESHOLDS
        # the matcher's thresholds are inclusive, the report's is not; IoUs are float32
        above = float(np.nextafter(np.float32(high), np.float32(1)))
        arguments["anchor_matcher"] = Matcher([low, above], cfg.MODEL.RPN.IOU_LABELS)
        return arguments

    def _subsample_labels(self, label: Tensor) -> Tensor:
        positive, negative = (torch.nonzero(label == kind).flatten() for kind in (1, 0))
        limit = int(self.batch_size_per_image * self.positive_fraction)
        positives = min(len(positive), limit)
        negatives = min(len(negative), positives or limit)
        label.fill_(-1)
        label[positive[torch.randperm(len(positive), device=label.device)[:positives]]] = 1
        label[negative[torch.randperm(len(negative), device=label.device)[:negatives]]] = 0
        return label

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """See :meth:`RPN.losses`."""
        labels = torch.stack(gt_labels)
        logits, deltas = cat(pred_objectness_logits, dim=1), cat(pred_anchor_deltas, dim=1)
        chosen, positive = labels >= 0, labels == 1
        objectness = _cross_entropy(logits[chosen], labels[chosen])
        all_anchors = Boxes.cat(anchors).tensor.expand(len(labels), -1, -1)
        box = self._box_losses(
            all_anchors[positive], deltas[positive], torch.stack(gt_boxes)[positive]
        )
        losses = {
            # a batch may have no anchor inside its images, or no positive one
            "loss_rpn_cls": objectness.sum() / max(1, len(objectness)),
            "loss_rpn_loc": box.sum() / max(1, len(box)),
        }
        return {name: loss * self.loss_weight[name] for name, loss in losses.items()}

    def _box_losses(self, anchors: Tensor, deltas: Tensor, boxes: Tensor) -> Tensor:
        """(P,): smooth L1 of each positive anchor, mean over its four deltas (arXiv:1506.01497)."""
        targets = self.box2box_transform.get_deltas(anchors, boxes)
        beta = max(self.smooth_l1_beta, 1e-6)
        return F.smooth_l1_loss(deltas.float(), targets, beta=beta, reduction="none").mean(dim=1)

    def outputs(self, features: dict[str, Tensor]) -> tuple[Boxes, Tensor, Tensor]:
        """The outputs for all anchors, before any selection.

        Args:
            features: maps (N, C, h, w) by name.

        Returns:
            R anchors, their objectness logits (N, R) and their deltas (N, R, 4): (dx, dy, dw, dh)
            of arXiv:1506.01497.
        """
        maps = [features[name] for name in self.in_features]
        anchors = Boxes.cat(self.anchor_generator(maps))
        logits, deltas = self.rpn_head(maps)
        logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
        deltas = [x.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]
        return anchors, torch.cat(logits, dim=1), torch.cat(deltas, dim=1)

    @torch.no_grad()
    def measure(
        self, features: dict[str, Tensor], truth: list[Instances]
    ) -> list[dict[str, tuple[float, int]]]:
        """The report's losses of each image, over all anchors instead of a random sample.

        Positives and negatives count one half each, as in a balanced sample.

        Args:
            features: maps (N, C, h, w) by name.
            truth: of each of the N images, with ``gt_boxes``.

        Returns:
            For each image ``{"rpn_objectness": (loss, 1), "rpn_box": (loss, 1)}``; (0, 0) for a
            loss for which the image has no anchors.
        """
        anchors, logits, deltas = self.outputs(features)
        results = []
        for image_logits, image_deltas, instances in zip(logits, deltas, truth, strict=True):
            matches, labels = self.label_anchors(anchors, instances)
            halves = [
                _cross_entropy(image_logits[labels == kind], labels[labels == kind]).mean()
                for kind in (1, 0)
                if (labels == kind).any()
            ]
            positive = labels == 1
            boxes = instances.gt_boxes.tensor[matches[positive]]
            box = self._box_losses(anchors.tensor[positive], image_deltas[positive], boxes)
            results.append(
                {
                    "rpn_objectness": (
                        float(sum(halves)) / max(1, len(halves)),
                        min(1, len(halves)),
                    ),
                    "rpn_box": (float(box.mean()), 1) if len(box) else (0.0, 0),
                }
            )
        return results


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
