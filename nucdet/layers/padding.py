"""Pads images at the bottom and on the right to the size that a batch or a network needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def reflect_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad (…, H, W) to (height, width) by reflection, repeated as often as needed."""
    for dim, length in zip((-2, -1), size, strict=True):
        missing = length - image.shape[dim]
        if missing:  # torch's own padding reflects only once
            order = np.pad(np.arange(image.shape[dim]), (0, missing), mode="reflect")
            image = image.index_select(dim, torch.from_numpy(order).to(image.device))
    return image
