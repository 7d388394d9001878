"""Test-time augmentation (TEST.AUG): Mask R-CNN predicts several views of an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor, nn
from torch.nn import functional as F

from nucdet.errors import InputError
from nucdet.modeling.mask_rcnn.nucleus_rcnn import NucleusRCNN

# Lowest score of a box in a single view; the mean score over all views decides if it is kept
_VIEW_SCORE = 0.05
# Boxes of different views with at least this IoU belong to the same nucleus
_SAME_IOU = 0.5


@dataclass(frozen=True)
class View:
    """An image zoomed, then mirrored left to right, then turned counter-clockwise in 90° steps."""

    zoom: float
    mirrored: bool
    turns: int

    def image(self, image: Tensor) -> Tensor:
        """Transform an image (C, H, W) into this view."""
        size = self._zoomed(image.shape[-2:])
        if size != tuple(image.shape[-2:]):
            image = F.interpolate(
                image[None].float(), size, mode="bilinear", antialias=True, align_corners=False
            )[0]
        return torch.rot90(image.flip(-1) if self.mirrored else image, self.turns, (-2, -1))

    def boxes(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Transform boxes (N, 4), XYXY, of an image of (height, width) into this view."""
        height, width = self._zoomed(size)
        x, y = boxes[:, 0::2] * (width / size[1]), boxes[:, 1::2] * (height / size[0])
        if self.mirrored:
            x = width - x
        for _ in range(self.turns):
            x, y = y, width - x
            height, width = width, height
        return _ordered(x, y)

    def boxes_back(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """The inverse of :meth:`boxes`, for an image of (height, width)."""
        zoomed = self._zoomed(size)
        height, width = zoomed if self.turns % 2 == 0 else zoomed[::-1]
        x, y = boxes[:, 0::2], boxes[:, 1::2]
        for _ in range(self.turns):
            x, y = height - y, x
            height, width = width, height
        if self.mirrored:
            x = width - x
        return _ordered(x * (size[1] / width), y * (size[0] / height))

    def masks_back(self, masks: Tensor) -> Tensor:
        """Turn masks (…, M, M) in boxes of this view into masks in the same boxes of the image."""
        masks = torch.rot90(masks, -self.turns, (-2, -1))
        return masks.flip(-1) if self.mirrored else masks

    def _zoomed(self, size: tuple[int, ...]) -> tuple[int, int]:
        return max(1, round(size[0] * self.zoom)), max(1, round(size[1] * self.zoom))


def _ordered(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([x.amin(1), y.amin(1), x.amax(1), y.amax(1)], dim=1)


class AugmentedRCNN(nn.Module):
    """A NucleusRCNN that detects in several views of each image and joins what it finds.

    Like Detectron2's GeneralizedRCNNWithTTA it detects boxes in each view, joins them, and then
    averages the soft masks of the joined boxes over the views. Two things differ. The score of a
    nucleus is its mean over all views (0 for views that miss it), and this mean must exceed the
    threshold, so that a single view cannot add a false nucleus. And the boxes of the same nucleus
    are averaged, weighted by their scores.
    """

    def __init__(
        self,
        model: NucleusRCNN,
        views: list[View],
        *,
        score_threshold: float,
        nms_threshold: float,
        max_detections: int,
    ):
        super().__init__()
        self.model, self.views = model, views
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_detections = max_detections

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> AugmentedRCNN:
        """Wrap ``model``, which keeps its weights, as configured in TEST.AUG.

        Raises:
            InputError: ``model`` is not a NucleusRCNN, or a zoom factor is not above 0.
        """
        if not isinstance(model, NucleusRCNN):
            raise InputError(
                f"TEST.AUG.ENABLED needs MODEL.META_ARCHITECTURE NucleusRCNN, found "
                f"{cfg.MODEL.META_ARCHITECTURE}; others have MODEL.CENTER_VOTING.VIEWS "
                "or MODEL.SEMANTIC.TTA"
            )
        aug = cfg.TEST.AUG
        if not aug.ZOOMS or min(aug.ZOOMS) <= 0:
            raise InputError(f"TEST.AUG.ZOOMS is {aug.ZOOMS}, expected factors above 0")
        mirrored = (False, True) if aug.FLIP else (False,)
        turns = range(4) if aug.TURNS else (0,)
        return cls(
            model,
            [View(*view) for view in product(aug.ZOOMS, mirrored, turns)],
            score_threshold=cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            nms_threshold=cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        )

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Same inputs and outputs as :class:`NucleusRCNN` in evaluation."""
        return [{"instances": self._one(inputs)} for inputs in batched_inputs]

    def _one(self, inputs: dict[str, Any]) -> Instances:
        size = tuple(inputs["image"].shape[-2:])
        features, found = [], []
        with self._boxes_only():
            for view in self.views:
                images = self.model.preprocess_image([{"image": view.image(inputs["image"])}])
                features.append(self.model.backbone(images.tensor))
                proposals, _ = self.model.proposal_generator(images, features[-1], None)
                boxes = self.model.roi_heads(images, features[-1], proposals, None)[0][0]
                boxes.pred_boxes = Boxes(view.boxes_back(boxes.pred_boxes.tensor, size))
                found.append(boxes)
        result = self._join(found, size)
        if len(result) and self.model.roi_heads.mask_on:
            masks = [self._masks(*pair, result) for pair in zip(self.views, features, strict=True)]
            result.pred_masks = torch.stack(masks).mean(0)
        elif self.model.roi_heads.mask_on:
            result.pred_masks = result.scores.new_zeros((0, 1, 1, 1))
        return self.model.to_original(result, inputs)

    def _masks(self, view: View, features: dict[str, Tensor], joined: Instances) -> Tensor:
        joined_boxes = Instances(joined.image_size)
        joined_boxes.pred_boxes = Boxes(view.boxes(joined.pred_boxes.tensor, joined.image_size))
        joined_boxes.pred_classes = joined.pred_classes
        joined_boxes = self.model.roi_heads.forward_with_given_boxes(features, [joined_boxes])[0]
        return view.masks_back(joined_boxes.pred_masks)

    def _join(self, found: list[Instances], size: tuple[int, int]) -> Instances:
        boxes = torch.cat([view.pred_boxes.tensor for view in found])
        scores = torch.cat([view.scores for view in found])
        classes = torch.cat([view.pred_classes for view in found])
        kept = batched_nms(boxes, scores, classes, self.nms_threshold)
        boxes, classes = boxes[kept], classes[kept]
        weights = scores.new_zeros(len(kept))
        weighted = torch.zeros_like(boxes)
        for view in found:
            if not len(view):
                continue
            iou = pairwise_iou(Boxes(boxes), view.pred_boxes)
            same = (iou >= _SAME_IOU) & (classes[:, None] == view.pred_classes)
            score, best = (view.scores * same).max(1)
            weights += score
            weighted += score[:, None] * view.pred_boxes.tensor[best]
        scores = weights / len(found)
        order = scores.argsort(descending=True)
        order = order[scores[order] > self.score_threshold][: self.max_detections]
        result = Instances(size)
        result.pred_boxes = Boxes(weighted[order] / weights[order, None])
        result.scores, result.pred_classes = scores[order], classes[order]
        return result

    @contextmanager
    def _boxes_only(self) -> Iterator[None]:
        """Within this context the heads predict no masks, and also boxes of low score."""
        heads = self.model.roi_heads
        predictors = [m for m in heads.modules() if hasattr(m, "test_score_thresh")]
        before = heads.mask_on, [p.test_score_thresh for p in predictors]
        heads.mask_on = False
        for predictor in predictors:
            predictor.test_score_thresh = _VIEW_SCORE
        try:
            yield
        finally:
            heads.mask_on = before[0]
            for predictor, threshold in zip(predictors, before[1], strict=True):
                predictor.test_score_thresh = threshold
