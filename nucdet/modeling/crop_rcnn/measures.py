"""Measures nucleus filter, mask network and proposals separately, given the ground truth."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor
from torch.nn import functional as F

from nucdet.modeling.crop_rcnn.crops import (
    CROP_SIZE,
    background_boxes,
    cut_crops,
    false_proposals,
)
from nucdet.modeling.crop_rcnn.nucleus_filter import THRESHOLD
from nucdet.modeling.crop_rcnn.roi_heads import CropROIHeads

# {name: (sum, count)}; the mean over many images is Σ sums / Σ counts
Measures = dict[str, tuple[float, int]]

# numbers of proposals per image at which the recall is measured
RECALL_AT = (50, 100, 500)
# a nucleus is found if a proposal has an IoU greater than this with it
_FOUND = 0.5


def measure_recall(proposals: Boxes, nuclei: Boxes) -> Measures:
    """The recall of the first 50, 100 and 500 proposals at an IoU above 0.5.

    Args:
        proposals: of one image, the highest scores first.
        nuclei: the ground-truth boxes of the same image.

    Returns:
        ``{"recall_50": (nuclei found, nuclei), …}``.
    """
    found = pairwise_iou(nuclei, proposals) > _FOUND
    return {f"recall_{k}": (float(found[:, :k].any(dim=1).sum()), len(nuclei)) for k in RECALL_AT}


@torch.no_grad()
def measure_crops(
    heads: CropROIHeads,
    image: Tensor,
    truth: Instances,
    proposals: Boxes,
    others: Tensor | None = None,
) -> Measures:
    """Losses and accuracies of filter and mask network on crops of one image's nuclei.

    - ``mask``: binary cross-entropy, mean over the pixels of the crops;
    - ``filter``, ``filter_accuracy``: binary cross-entropy and accuracy, mean over the crops of all
      nuclei and as many of background, the same ones each time. If ``others`` are given, they
      replace the background crops; with CIFAR-10 this is report 000's own definition;
    - ``filter_false``: the share of the RPN's false proposals (IoU below 0.1 with every nucleus)
      that the filter rejects.

    Args:
        heads: in evaluation mode.
        image: (1, 1, H, W) float32, 0–1.
        truth: ground truth of that image, with ``gt_boxes`` and ``gt_masks``.
        proposals: of that image.
        others: (K, 1, M, M) float32, 0–1, crops of images without nuclei.

    Returns:
        {name: (sum, count)}; without a filter only "mask".
    """
    nuclei = cut_crops(image, [truth.gt_boxes.tensor], CROP_SIZE)
    logits = heads.mask_head.layers(nuclei)[:, 0]
    masks = truth.gt_masks.crop_and_resize(truth.gt_boxes.tensor, CROP_SIZE)
    loss = F.binary_cross_entropy_with_logits(logits, masks.to(logits), reduction="sum")
    result = {"mask": (float(loss), logits.numel())}
    if heads.nucleus_filter is None:
        return result
    if others is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            boxes = background_boxes(truth.gt_boxes, max(1, len(truth)), truth.image_size)
        others = cut_crops(image, [boxes.tensor], CROP_SIZE)
    logits = heads.nucleus_filter(torch.cat([nuclei, others]))
    labels = (torch.arange(len(logits), device=logits.device) < len(nuclei)).float()
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    wrong = false_proposals(proposals, truth.gt_boxes, len(proposals))
    likely = heads.nucleus_filter.probabilities(image, [wrong])[0]
    return result | {
        "filter": (float(loss), len(logits)),
        "filter_accuracy": (float(((logits >= 0) == labels.bool()).sum()), len(logits)),
        "filter_false": (float((likely < THRESHOLD).sum()), len(likely)),
    }
