"""The classifier of report 000, which distinguishes crops of nuclei from other crops."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torch.nn import functional as F

from nucdet.errors import InputError
from nucdet.modeling.crop_rcnn.backbone import CropResNet
from nucdet.modeling.crop_rcnn.crops import (
    CROP_SIZE,
    JITTER,
    NUCLEI_PER_IMAGE,
    background_boxes,
    cut_crops,
    false_proposals,
    jitter_boxes,
    random_indices,
)

MODES = ("drop", "rescore", "off")
THRESHOLD = 0.5  # "drop" removes detections with a lower probability


class NucleusFilter(nn.Module):
    """A backbone like the RPN's, with its own weights, and one fully connected layer.

    Positives are crops of nuclei (with jittered boxes). Negatives are background of the same
    images, the false proposals with the highest scores, and crops of other images if the mapper
    gives some. Report 000 uses only the latter, from CIFAR-10, so its filter is never trained on
    what it has to reject.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: CropResNet,
        mode: str,
        false_per_image: int,
        background_per_image: int,
    ):
        """
        Args:
            backbone: for one grey channel.
            mode: "drop": detections with a probability below :data:`THRESHOLD` are removed;
                "rescore": scores are multiplied by the probability.
            false_per_image, background_per_image: most crops of false proposals and of background
                per image in training.
        """
        super().__init__()
        self.backbone, self.mode = backbone, mode
        self.background_per_image, self.false_per_image = background_per_image, false_per_image
        channels = backbone.output_shape()["res3"].channels
        self.classifier = nn.Linear(channels * (CROP_SIZE // 8) ** 2, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.NUCLEUS_FILTER
        return {
            "backbone": CropResNet(cfg.MODEL.CROP_RCNN.BACKBONE_CHANNELS),
            "mode": node.MODE,
            "false_per_image": node.FALSE_PER_IMAGE,
            "background_per_image": node.BACKGROUND_PER_IMAGE,
        }

    def forward(self, crops: Tensor) -> Tensor:
        """(N,) float32 logits of crops (N, 1, CROP_SIZE, CROP_SIZE) with grey levels 0–1."""
        if not len(crops):
            # batch norm would learn NaN; the parameters still get a gradient, of 0
            return crops.new_zeros(0) + 0 * sum(p.sum() for p in self.parameters())
        return self.classifier(self.backbone(crops)["res3"].flatten(1))[:, 0].float()

    def losses(
        self,
        image: Tensor,
        proposals: list[Instances],
        targets: list[Instances],
        others: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The binary cross-entropy of a batch.

        Args:
            image: (N, 1, H, W) float32, 0–1.
            proposals: of each image, with ``proposal_boxes``, the highest scores first.
            targets: of each image, with ``gt_boxes``.
            others: (K, 1, CROP_SIZE, CROP_SIZE) float32, 0–1, crops of images without nuclei.

        Returns:
            ``{"loss_filter": scalar}``, the mean over all crops.
        """
        nuclei, negatives = [], []
        for found, truth in zip(proposals, targets, strict=True):
            chosen = random_indices(len(truth), NUCLEI_PER_IMAGE, image.device)
            nuclei.append(jitter_boxes(truth.gt_boxes[chosen], JITTER, truth.image_size))
            negatives.append(self.negatives(found.proposal_boxes, truth))
        crops = [self._cut(image, nuclei), self._cut(image, negatives)]
        if others is not None:
            crops.append(others)
        logits = self(torch.cat(crops))
        labels = torch.zeros_like(logits)
        labels[: len(crops[0])] = 1
        loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        return {"loss_filter": loss / max(1, len(labels))}

    def negatives(self, proposals: Boxes, truth: Instances) -> Boxes:
        """Background boxes of one image, and the false ones among its proposals."""
        background = background_boxes(truth.gt_boxes, self.background_per_image, truth.image_size)
        mistakes = false_proposals(proposals, truth.gt_boxes, self.false_per_image)
        return Boxes.cat([background, mistakes])

    def probabilities(self, image: Tensor, boxes: list[Boxes]) -> list[Tensor]:
        """The probabilities, (k,) float32 for each image, that its k boxes show a nucleus."""
        probabilities = self(self._cut(image, boxes)).sigmoid()
        return list(probabilities.split([len(part) for part in boxes]))

    def filtered(self, image: Tensor, instances: list[Instances]) -> list[Instances]:
        """Drop or rescore detections, as ``mode`` says; for inference.

        Args:
            image: (N, 1, H, W) float32, 0–1.
            instances: of each image, with ``pred_boxes`` in its pixels and ``scores``, which
                "rescore" replaces in place.

        Returns:
            The remaining instances, in the same order.
        """
        probabilities = self.probabilities(image, [found.pred_boxes for found in instances])
        if self.mode == "drop":
            pairs = zip(instances, probabilities, strict=True)
            return [found[p >= THRESHOLD] for found, p in pairs]
        for found, p in zip(instances, probabilities, strict=True):
            found.scores = found.scores * p
        return instances

    def _cut(self, image: Tensor, boxes: list[Boxes]) -> Tensor:
        return cut_crops(image, [part.tensor for part in boxes], CROP_SIZE)


def build_nucleus_filter(cfg: CfgNode) -> NucleusFilter | None:
    """The filter that MODEL.NUCLEUS_FILTER describes; None for MODE "off".

    Raises:
        InputError: MODE is none of "drop", "rescore" and "off".
    """
    mode = cfg.MODEL.NUCLEUS_FILTER.MODE
    if mode not in MODES:
        raise InputError(f"MODEL.NUCLEUS_FILTER.MODE is {mode!r}, expected one of {MODES}")
    return None if mode == "off" else NucleusFilter(cfg)
