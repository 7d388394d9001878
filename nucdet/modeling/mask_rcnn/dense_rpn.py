"""Detectron2's region proposal network, trained on images with thousands of boxes."""

from __future__ import annotations

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import (
    PROPOSAL_GENERATOR_REGISTRY,
    RPN,
    RPN_HEAD_REGISTRY,
    StandardRPNHead,
)
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

_ROWS = 32  # ground-truth boxes at a time


@PROPOSAL_GENERATOR_REGISTRY.register()
class DenseRPN(RPN):
    """RPN that compares anchors with a few ground-truth boxes at a time, with the same results.

    Detectron2's compares all with all, which needs 20 GB for 2,000 cells and the 400,000 anchors
    of an image of 620 × 840 pixels (LIVECell's anchors, p2 used twice). The parameters are the
    same.
    """

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See :meth:`RPN.label_and_sample_anchors`."""
        all_anchors = Boxes.cat(anchors)
        labels, boxes = [], []
        for instances in gt_instances:
            matches, label = self.label_anchors(all_anchors, instances)
            labels.append(self._subsample_labels(label))
            if len(instances):
                boxes.append(instances.gt_boxes.tensor[matches])
            else:
                boxes.append(torch.zeros_like(all_anchors.tensor))
        return labels, boxes

    def label_anchors(self, anchors: Boxes, truth: Instances) -> tuple[Tensor, Tensor]:
        """Match anchors with ground-truth boxes, without sampling.

        Args:
            anchors: R anchors.
            truth: of one image, with ``gt_boxes``.

        Returns:
            (R,) int64, the index of the ground-truth box with the largest IoU, and (R,) int8
            labels: 1 positive, 0 negative, -1 ignored.
        """
        matches, labels = match_in_parts(truth.gt_boxes, anchors, self.anchor_matcher)
        if self.anchor_boundary_thresh >= 0:
            labels[~anchors.inside_box(truth.image_size, self.anchor_boundary_thresh)] = -1
        return matches, labels


@RPN_HEAD_REGISTRY.register()
class RepeatedRPNHead(StandardRPNHead):
    """StandardRPNHead that computes a feature map named twice in MODEL.RPN.IN_FEATURES only once.

    Parameters and results are the same: the head is shared by all maps, so that p2's anchors of
    both sizes get the same scores and deltas (relative to their sizes) in any case.
    """

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """See :meth:`StandardRPNHead.forward`."""
        distinct = list({id(x): x for x in features}.values())
        position = {id(x): i for i, x in enumerate(distinct)}
        logits, deltas = super().forward(distinct)
        order = [position[id(x)] for x in features]
        return [logits[i] for i in order], [deltas[i] for i in order]


def match_in_parts(
    truth: Boxes, anchors: Boxes, matcher: Matcher, rows: int = _ROWS
) -> tuple[Tensor, Tensor]:
    """``matcher(pairwise_iou(ground truth, anchors))`` without the whole matrix.

    Ground-truth boxes are taken from top to bottom of the image, ``rows`` at a time, and compared
    only with the anchors at the same height. These are a tenth of all pairs, and include all that
    overlap.

    Args:
        truth: M boxes.
        anchors: N boxes.
        matcher: Detectron2's; if it allows matches of low quality, an anchor is also positive if it
            is the best one of a ground-truth box (Faster R-CNN, section 3.1.2).
        rows: how many ground-truth boxes are compared at a time.

    Returns:
        (N,) int64 index of the ground-truth box with the largest IoU (0 if there is none), and
        (N,) int8 label.
    """
    best = anchors.tensor.new_zeros(len(anchors))
    matches = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    is_best = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    top, bottom = anchors.tensor[:, 1], anchors.tensor[:, 3]
    order = truth.tensor[:, 1].argsort()
    for start in range(0, len(truth), rows):
        part = order[start : start + rows]
        boxes = truth[part]
        same_height = (bottom > boxes.tensor[:, 1].min()) & (top < boxes.tensor[:, 3].max())
        near = same_height.nonzero()[:, 0]
        if not len(near):
            continue
        iou = pairwise_iou(boxes, anchors[near])
        highest = iou.amax(dim=1, keepdim=True)
        is_best[near] |= ((iou == highest) & (highest > 0)).any(dim=0)
        part_best, part_matches = iou.max(dim=0)
        better = part_best > best[near]
        best[near[better]] = part_best[better]
        matches[near[better]] = part[part_matches[better]]
    by_threshold = Matcher(matcher.thresholds[1:-1], matcher.labels)
    labels = by_threshold(best[None])[1]
    if matcher.allow_low_quality_matches:
        labels[is_best] = 1
    return matches, labels
