"""Crops of images, and the boxes on which nucleus filter and mask network are trained.

Boxes are (x0, y0, x1, y1) in pixels of the image as the network sees it.
"""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, pairwise_iou
from detectron2.structures.boxes import pairwise_ioa
from torch import Tensor
from torchvision.ops import roi_align

# Side in pixels of the crops for filter and mask network, a multiple of 8 (report 000)
CROP_SIZE = 32
# In training, boxes of nuclei are shifted by up to this share of their sides, and grow or shrink by
# about as much
JITTER = 0.2
# most nuclei of an image that filter and mask network are trained on at a time
NUCLEI_PER_IMAGE = 32
# Smallest and largest side, in pixels, of background boxes in images without nuclei
_SIDES = (8.0, 64.0)
# Random boxes drawn for each background box; in dense images most overlap a nucleus
_TRIES = 8
# A proposal is false if its IoU with every nucleus is below this. A box is background if its
# overlap with every nucleus is below this share of the box and of the nucleus
FALSE_IOU = 0.1


def cut_crops(image: Tensor, boxes: list[Tensor], size: int) -> Tensor:
    """Crop and resize the boxes by ROIAlign (He et al., 2017, arXiv:1703.06870) on the pixels.

    A box of exactly size × size pixels gives these pixels unchanged; for a larger box each value is
    a mean.

    Args:
        image: (N, C, H, W).
        boxes: N tensors (k, 4); k may differ from image to image.
        size: side of the crops, pixels.

    Returns:
        (Σk, C, size, size) float32, image by image.
    """
    with torch.autocast(image.device.type, enabled=False):
        # in 16 bits the corners of a box would be off by pixels
        image, boxes = image.float(), [part.float() for part in boxes]
        return roi_align(image, boxes, size, sampling_ratio=0, aligned=True)


def jitter_boxes(boxes: Boxes, amount: float, image_size: tuple[int, int]) -> Boxes:
    """Shift and resize boxes at random, so that they are as inaccurate as those of a detector.

    Args:
        boxes: N boxes.
        amount: the center moves by up to this share of the sides, and the sides are multiplied by
            up to exp(± amount). Each box draws its own strength between 0 and ``amount``, so that
            some boxes hardly change.
        image_size: (height, width) to which the boxes are clipped.

    Returns:
        N boxes.
    """
    old = boxes.tensor
    center, side = (old[:, :2] + old[:, 2:]) / 2, old[:, 2:] - old[:, :2]
    strength = amount * torch.rand(len(old), 1, device=old.device)
    moved, grown = (2 * torch.rand(2, len(old), 2, device=old.device) - 1) * strength
    center, side = center + moved * side, side * grown.exp()
    jittered = Boxes(torch.cat([center - side / 2, center + side / 2], dim=1))
    jittered.clip(image_size)
    return jittered


def background_boxes(nuclei: Boxes, count: int, image_size: tuple[int, int]) -> Boxes:
    """Draw boxes as large as nuclei that overlap none, or only a little (:data:`FALSE_IOU`).

    In an image without nuclei they are squares with a side of 8 to 64 pixels.

    Args:
        nuclei: the boxes of all nuclei of the image.
        count: the number of boxes; fewer are found where nuclei are dense.
        image_size: (height, width).

    Returns:
        Up to ``count`` boxes inside the image.
    """
    device, tried = nuclei.device, count * _TRIES
    if len(nuclei):
        sides = nuclei.tensor[:, 2:] - nuclei.tensor[:, :2]
        sides = sides[torch.randint(len(sides), (tried,), device=device)]
    else:
        low, high = torch.tensor(_SIDES, device=device).log()
        sides = (low + (high - low) * torch.rand(tried, 1, device=device)).exp().expand(-1, 2)
    limit = torch.tensor(image_size[::-1], device=device, dtype=torch.float32)
    sides = sides.minimum(limit)
    corner = torch.rand(tried, 2, device=device) * (limit - sides)
    boxes = Boxes(torch.cat([corner, corner + sides], dim=1))
    if len(nuclei):
        is_free = (pairwise_ioa(nuclei, boxes) < FALSE_IOU).all(dim=0)
        is_free &= (pairwise_ioa(boxes, nuclei) < FALSE_IOU).all(dim=1)
        boxes = boxes[is_free]
    return boxes[:count]


def false_proposals(proposals: Boxes, nuclei: Boxes, count: int) -> Boxes:
    """The first ``count`` proposals that have an IoU below 0.1 with every nucleus.

    If the proposals are sorted by descending score, these are the worst mistakes.
    """
    if len(nuclei):
        proposals = proposals[(pairwise_iou(nuclei, proposals) < FALSE_IOU).all(dim=0)]
    return proposals[:count]


def random_indices(count: int, at_most: int, device: torch.device) -> Tensor:
    """Indices below ``count``, drawn without replacement: (min(count, at_most),) int64."""
    return torch.randperm(count, device=device)[:at_most]
