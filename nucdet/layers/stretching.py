"""Brings images of different kinds of microscopy to similar grey levels."""

from __future__ import annotations

import torch
from torch import Tensor


def stretch(images: Tensor) -> Tensor:
    """Stretch the grey levels of each image to 0–1 and invert it if its mean is then above 1/2.

    All images then have bright nuclei on a dark background. Batch norm needs this: fluorescence and
    stained tissue have means of 0.05 and 0.8, so with batches of two images, inference would
    normalize the one with the statistics of the other.

    Args:
        images: (…, H, W) of any dtype. A constant one becomes 0.
    """
    images = images.float()
    low, high = (limit(images, dim=(-2, -1), keepdim=True) for limit in (torch.amin, torch.amax))
    images = (images - low) / (high - low).clamp(min=1e-6)
    is_bright = images.mean(dim=(-2, -1), keepdim=True) > 0.5
    return torch.where(is_bright, 1 - images, images)
