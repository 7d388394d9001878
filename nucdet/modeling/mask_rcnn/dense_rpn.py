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

_ROWS = 32  # true boxes at a time


@PROPOSAL_GENERATOR_REGISTRY.register()
class DenseRPN(RPN):
    """RPN that compares anchors with some boxes at a time. Same parameters, same results.

    Detectron2's compares all with all, which needs 20 GB for 2,000 cells and the 400,000 anchors
    of an image of 620 × 840 pixels (LIVECell's anchors, p2 used twice).
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
        """Match anchors with true boxes, without the sampling of :meth:`label_and_sample_anchors`.

        Args:
            anchors: R anchors.
            truth: of one image, with ``gt_boxes``.

        Returns:
            (R,) int64, the index of the true box with the largest IoU, and (R,) int8 labels: 1
            positive, 0 negative, -1 ignored.
        """
        matches, labels = match_in_parts(truth.gt_boxes, anchors, self.anchor_matcher)
        if self.anchor_boundary_thresh >= 0:
            labels[~anchors.inside_box(truth.image_size, self.anchor_boundary_thresh)] = -1
        return matches, labels


@RPN_HEAD_REGISTRY.register()
class RepeatedRPNHead(StandardRPNHead):
    """StandardRPNHead that looks once at a feature map which MODEL.RPN.IN_FEATURES names twice.

    Same parameters, same results: the head is one for all maps, so that p2's anchors of both sizes
    get the same scores and the same deltas (relative to their sizes) either way.
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

    True boxes are taken from the top of the image to its bottom, ``rows`` at a time, and compared
    with the anchors at their height: a tenth of the pairs, and all that overlap.

    Args:
        truth: M boxes.
        anchors: N boxes.
        matcher: Detectron2's; an anchor is also positive where it is a true box's best, if the
            matcher allows matches of low quality (Faster R-CNN, section 3.1.2).
        rows: how many true boxes are compared at a time.

    Returns:
        (N,) int64 index of the true box with the largest IoU (0 without any), and (N,) int8 label.
    """
    best = anchors.tensor.new_zeros(len(anchors))
    matches = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    anyones_best = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    top, bottom = anchors.tensor[:, 1], anchors.tensor[:, 3]
    order = truth.tensor[:, 1].argsort()
    for start in range(0, len(truth), rows):
        part = order[start : start + rows]
        boxes = truth[part]
        beside = (bottom > boxes.tensor[:, 1].min()) & (top < boxes.tensor[:, 3].max())
        near = beside.nonzero()[:, 0]
        if not len(near):
            continue
        iou = pairwise_iou(boxes, anchors[near])
        highest = iou.amax(dim=1, keepdim=True)
        anyones_best[near] |= ((iou == highest) & (highest > 0)).any(dim=0)
        part_best, part_matches = iou.max(dim=0)
        better = part_best > best[near]
        best[near[better]] = part_best[better]
        matches[near[better]] = part[part_matches[better]]
    by_threshold = Matcher(matcher.thresholds[1:-1], matcher.labels)
    labels = by_threshold(best[None])[1]
    if matcher.allow_low_quality_matches:
        labels[anyones_best] = 1
    return matches, labels
