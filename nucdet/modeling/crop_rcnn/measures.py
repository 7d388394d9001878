"""How well filter, mask network and proposals do by themselves, on perfect crops."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor
from torch.nn import functional as F

from nucdet.modeling.crop_rcnn.crops import background_boxes, cut_crops, false_proposals
from nucdet.modeling.crop_rcnn.roi_heads import CropROIHeads

# {name: (sum, count)}, so that the mean of many images is Σ sums / Σ counts
Measures = dict[str, tuple[float, int]]

# how many proposals an image may make
RECALL_AT = (50, 100, 500)
# greater than this a proposal's IoU has to be for a nucleus to be found
_FOUND = 0.5


def measure_recall(proposals: Boxes, nuclei: Boxes) -> Measures:
    """``recall_50`` …: nuclei that one of the first 50 … proposals meets with an IoU above 0.5.

    Args:
        proposals: of one image, the surest first.
        nuclei: of the same.
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
    """The losses of filter and mask network on crops of true boxes.

    - ``filter``, ``filter_accuracy``: cross-entropy and share of right answers, nuclei against as
      many boxes of background, the same ones each time; against ``others`` where there are some,
      which with CIFAR-10 is the report's own definition.
    - ``filter_false``: the share of the RPN's false proposals (IoU below 0.1) that it rejects.
    - ``mask``: cross-entropy at each pixel of the crops.

    Args:
        heads: in evaluation mode.
        image: (1, 1, H, W), 0–1.
        truth: of that image, with gt_boxes and gt_masks.
        proposals: of that image.
        others: (K, 1, M, M), crops of images without nuclei.
    """
    nuclei = cut_crops(image, [truth.gt_boxes.tensor], heads.crop_size)
    logits = heads.mask_head.layers(nuclei)[:, 0]
    masks = truth.gt_masks.crop_and_resize(truth.gt_boxes.tensor, heads.crop_size)
    loss = F.binary_cross_entropy_with_logits(logits, masks.to(logits), reduction="sum")
    result = {"mask": (float(loss), logits.numel())}
    if heads.nucleus_filter is None:
        return result
    if others is None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            boxes = background_boxes(truth.gt_boxes, max(1, len(truth)), truth.image_size)
        others = cut_crops(image, [boxes.tensor], heads.crop_size)
    logits = heads.nucleus_filter(torch.cat([nuclei, others]))
    labels = (torch.arange(len(logits), device=logits.device) < len(nuclei)).float()
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    wrong = false_proposals(proposals, truth.gt_boxes, len(proposals))
    likely = heads.nucleus_filter.probabilities(image, [wrong])[0]
    return result | {
        "filter": (float(loss), len(logits)),
        "filter_accuracy": (float(((logits >= 0) == labels.bool()).sum()), len(logits)),
        "filter_false": (float((likely < heads.nucleus_filter.threshold).sum()), len(likely)),
    }
