"""Crops of images, and the boxes that heads are trained on. All of an image's boxes at once."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, pairwise_iou
from detectron2.structures.boxes import pairwise_ioa
from torch import Tensor
from torchvision.ops import roi_align

# Side in pixels of the crops that filter and mask network see, a multiple of 8 (report 000)
CROP_SIZE = 32
# Boxes around nuclei that training cuts are moved by up to this share of their sides, and grow or
# shrink by up to it
JITTER = 0.2
# Sides in pixels of background boxes in images without a nucleus to copy from
_SIDES = (8.0, 64.0)
# Boxes that are tried for one of background; in dense images most meet a nucleus
_TRIES = 8
# Share of a nucleus, or of the box, that background and false proposals may hold
FALSE_IOU = 0.1


def cut_crops(image: Tensor, boxes: list[Tensor], size: int) -> Tensor:
    """What lies in the boxes, resized: ROIAlign on the pixels (``aligned``, adaptive sampling).

    A box of size × size whole pixels gives these pixels; of larger ones a value is a mean.

    Args:
        image: (N, C, H, W).
        boxes: N tensors (k, 4), (x0, y0, x1, y1) in pixels.
        size: side of the crops.

    Returns:
        (Σk, C, size, size) float32, image by image.
    """
    with torch.autocast(image.device.type, enabled=False):
        # in 16 bits the corners of a box would be off by pixels
        image, boxes = image.float(), [part.float() for part in boxes]
        return roi_align(image, boxes, size, sampling_ratio=0, aligned=True)


def jitter_boxes(boxes: Boxes, amount: float, image_size: tuple[int, int]) -> Boxes:
    """Boxes moved and resized, some a little and some more, as a detector would have found them.

    Args:
        boxes: N boxes.
        amount: at most by how much the centre moves, as a share of the sides, and the sides grow or
            shrink (exp ± amount); each box draws its own share of it.
        image_size: (height, width) to which they are clipped.
    """
    old = boxes.tensor
    centre, side = (old[:, :2] + old[:, 2:]) / 2, old[:, 2:] - old[:, :2]
    strength = amount * torch.rand(len(old), 1, device=old.device)
    moved, grown = (2 * torch.rand(2, len(old), 2, device=old.device) - 1) * strength
    centre, side = centre + moved * side, side * grown.exp()
    jittered = Boxes(torch.cat([centre - side / 2, centre + side / 2], dim=1))
    jittered.clip(image_size)
    return jittered


def background_boxes(nuclei: Boxes, count: int, image_size: tuple[int, int]) -> Boxes:
    """Up to ``count`` boxes with the sides of nuclei that hold (nearly) none.

    Args:
        nuclei: all of the image.
        count: fewer are found where nuclei are dense.
        image_size: (height, width).
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
    """The first ``count`` proposals, the surest, with an IoU below 0.1 with every nucleus."""
    if len(nuclei):
        proposals = proposals[(pairwise_iou(nuclei, proposals) < FALSE_IOU).all(dim=0)]
    return proposals[:count]


def random_indices(count: int, at_most: int, device: torch.device) -> Tensor:
    """(min(count, at_most),) different indices below ``count``, drawn at random."""
    return torch.randperm(count, device=device)[:at_most]
