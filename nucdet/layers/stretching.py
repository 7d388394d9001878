"""Grey levels of images of several kinds of microscopy made alike."""

from __future__ import annotations

import torch
from torch import Tensor


def stretch(images: Tensor) -> Tensor:
    """Each image's grey levels brought to 0–1 and, where its mean is above 1/2, inverted.

    So that all have bright nuclei on a dark background. Batch norm needs it: fluorescence and
    stained tissue have means of 0.05 and 0.8, two images are a batch, and in inference the one is
    normalized by the other's statistics.

    Args:
        images: (…, H, W) of any type. A constant one becomes 0.
    """
    images = images.float()
    low, high = (limit(images, dim=(-2, -1), keepdim=True) for limit in (torch.amin, torch.amax))
    images = (images - low) / (high - low).clamp(min=1e-6)
    is_bright = images.mean(dim=(-2, -1), keepdim=True) > 0.5
    return torch.where(is_bright, 1 - images, images)
