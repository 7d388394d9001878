"""Pastes the outputs of a mask head into the image without building an N×H×W array."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nucdet.structures.masks import CroppedMasks

# most pixels of padded windows in memory at a time
_CHUNK_PIXELS = 1 << 18


@torch.no_grad()
def paste_masks(
    probabilities: Tensor, boxes: Tensor, image_size: tuple[int, int], threshold: float = 0.5
) -> CroppedMasks:
    """Resample each M×M mask into its box and threshold it.

    Same contract as ``detectron2.layers.paste_masks_in_image``: bilinear, zero outside the mask,
    sampled at pixel centers. Bilinear sampling on a grid is ``rows @ mask @ columns.T`` with one
    small matrix of weights per axis, so all windows of similar size take one batched product.

    Args:
        probabilities: (N, M, M) float in [0, 1].
        boxes: (N, 4) float, (x0, y0, x1, y1) in pixels of the image, not empty.
        image_size: (height, width).
        threshold: pixels with at least this probability belong to the mask; must be above 0.

    Returns:
        N masks, some of them perhaps empty.
    """
    boxes = boxes.float()
    side = probabilities.shape[-1]
    # bilinear sampling reaches half a mask cell beyond the box
    reach = (boxes[:, 2:] - boxes[:, :2]) / (2 * side)
    limit = boxes.new_tensor([image_size[1], image_size[0]])
    low = (boxes[:, :2] - reach).floor().clamp(min=0).minimum(limit)
    high = (boxes[:, 2:] + reach).ceil().clamp(min=0).minimum(limit)
    spans = (high - low).long().cpu().numpy()  # (N, 2) width, height

    offsets = np.zeros((len(boxes), 2), np.int64)
    crops: list[np.ndarray] = [np.zeros((0, 0), bool)] * len(boxes)
    for picked in _similar_sizes(spans):
        width, height = spans[picked].max(axis=0).tolist()
        index = torch.from_numpy(picked).to(boxes.device)
        rows = _weights(low[index, 1], boxes[index, 1], boxes[index, 3], height, side)
        columns = _weights(low[index, 0], boxes[index, 0], boxes[index, 2], width, side)
        sampled = rows @ probabilities[index].float() @ columns.transpose(1, 2)
        windows = (sampled >= threshold).cpu().numpy()
        corners = low[index].long().cpu().numpy()[:, ::-1]
        _trim(windows, corners, spans[picked], picked, offsets, crops)
    return CroppedMasks(offsets, crops, image_size)


def _similar_sizes(spans: np.ndarray) -> list[np.ndarray]:
    """Indices of the nonempty windows, grouped by size so that padding a group adds few pixels."""
    sides = spans.max(axis=1, initial=0)
    order = np.argsort(-sides, kind="stable")
    order = order[(spans[order] > 0).all(axis=1)]
    groups = []
    while len(order):
        count = max(1, _CHUNK_PIXELS // int(sides[order[0]]) ** 2)
        groups.append(order[:count])
        order = order[count:]
    return groups


def _weights(first: Tensor, start: Tensor, end: Tensor, count: int, side: int) -> Tensor:
    """(N, count, side): the weight of each mask cell in each pixel along one axis."""
    pixel = torch.arange(count, device=start.device) + 0.5
    position = (first[:, None] + pixel - start[:, None]) / (end - start)[:, None] * side - 0.5
    cell = torch.arange(side, device=start.device)
    return (1 - (position[..., None] - cell).abs()).clamp(min=0)


def _trim(
    windows: np.ndarray,
    corners: np.ndarray,
    spans: np.ndarray,
    picked: np.ndarray,
    offsets: np.ndarray,
    crops: list[np.ndarray],
) -> None:
    """Store the tight crops of windows (n, h, w) at ``corners`` (n, 2; y, x) in ``offsets`` and
    ``crops``, at the indices ``picked``."""
    height, width = windows.shape[1:]
    # clear the group's padding, which may lie beyond the image's edge
    windows &= (np.arange(height) < spans[:, 1:])[:, :, None]
    windows &= (np.arange(width) < spans[:, :1])[:, None, :]
    rows, columns = windows.any(axis=2), windows.any(axis=1)
    y0, x0 = rows.argmax(axis=1), columns.argmax(axis=1)
    y1 = height - rows[:, ::-1].argmax(axis=1)
    x1 = width - columns[:, ::-1].argmax(axis=1)
    found = np.flatnonzero(rows.any(axis=1))
    offsets[picked[found]] = corners[found] + np.stack([y0, x0], axis=1)[found]
    for k in found.tolist():
        # a copy, so that the whole group does not stay in memory for one of its crops
        crops[picked[k]] = windows[k, y0[k] : y1[k], x0[k] : x1[k]].copy()
