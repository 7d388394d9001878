"""ROIAlign of instance masks stored as crops, for Mask R-CNN's training targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

# most pixels of padded windows in memory at a time
_CHUNK_PIXELS = 1 << 22


@torch.no_grad()
def roi_align_crops(
    crops: Sequence[np.ndarray],
    offsets: np.ndarray,
    image_size: tuple[int, int],
    boxes: torch.Tensor,
    output_size: int,
) -> torch.Tensor:
    """The result of ROIAlign (``aligned=True``, ``sampling_ratio=0``) for mask i in box i.

    A ROIAlign bin is the mean of bilinear samples on a regular grid, so each result is
    ``rows @ mask @ columns.T`` with one small matrix of weights per axis. Only the pixels of the
    crop that lie under the box are fetched, from one flat buffer that holds each crop once, however
    many boxes use it. (He et al., Mask R-CNN, https://arxiv.org/abs/1703.06870; the half-pixel
    shift of ``aligned=True`` as in Detectron2's ROIAlign.)

    Args:
        crops: N bool arrays (h, w).
        offsets: (N, 2) int, (y0, x0).
        image_size: (height, width); samples beyond the border repeat it for one pixel, then are 0.
        boxes: (N, 4) float, (x0, y0, x1, y1).
        output_size: side M of the results.

    Returns:
        (N, M, M) float32 on the device of ``boxes``.
    """
    device = boxes.device
    result = torch.zeros(len(crops), output_size, output_size, device=device)
    if not len(crops):
        return result
    buffer, starts = _flat_buffer(crops)
    buffer, starts = buffer.to(device), starts.to(device)
    shapes = torch.tensor([crop.shape for crop in crops], device=device)
    corners = torch.as_tensor(offsets, device=device)
    sides = torch.as_tensor(image_size, device=device)

    # per axis (y, x): the extent of the samples, and which pixels of the crop they can reach
    low, high = boxes.float()[:, [1, 0]] - 0.5, boxes.float()[:, [3, 2]] - 0.5
    top = torch.minimum(low.clamp(min=0), sides - 1.0).floor().long() - corners
    bottom = torch.minimum(high.clamp(min=0), sides - 1.0).floor().long() + 2 - corners
    top, bottom = top.clamp(min=0), torch.minimum(bottom, shapes)
    grids = ((high - low) / output_size).ceil().long().clamp(min=0)
    extent = (bottom - top).clamp(min=0).amax(dim=1).cpu()

    for members, side in _groups_by_extent(extent):
        i = members.to(device)
        windows = _windows(buffer, starts[i], shapes[i], top[i], bottom[i], side)
        weights = [
            _weights(low[i, a], high[i, a], grids[i, a], (corners + top)[i, a], image_size[a], side,
                     output_size)
            for a in (0, 1)
        ]  # fmt: skip
        # half precision would move pixels across the threshold
        with torch.autocast(device.type, enabled=False):
            result[i] = weights[0] @ windows @ weights[1].transpose(1, 2)
    return result


def _flat_buffer(crops: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """A 1-D buffer of all distinct crops, row-major, and where the crop of each mask starts."""
    starts, where, parts, size = [], {}, [], 0
    for crop in crops:
        if id(crop) not in where:
            where[id(crop)] = size
            parts.append(crop.ravel())
            size += crop.size
        starts.append(where[id(crop)])
    # an extra pixel, so that a buffer of empty crops can be indexed
    parts.append(np.zeros(1, dtype=bool))
    return torch.from_numpy(np.concatenate(parts)), torch.tensor(starts)


def _groups_by_extent(extent: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
    """Indices of masks whose windows fit the same power of two as side, in chunks of bounded size.

    Masks without any pixel under their box are left out.
    """
    groups = []
    least, side = 0, 8
    while least < int(extent.max()):
        members = torch.nonzero((extent > least) & (extent <= side)).flatten()
        groups += [(part, side) for part in members.split(max(1, _CHUNK_PIXELS // side**2))]
        least, side = side, 2 * side
    return [(members, side) for members, side in groups if len(members)]


def _windows(
    buffer: torch.Tensor,
    starts: torch.Tensor,
    shapes: torch.Tensor,
    top: torch.Tensor,
    bottom: torch.Tensor,
    side: int,
) -> torch.Tensor:
    """(n, side, side) float32: the pixels of each crop from ``top`` on, 0 from ``bottom`` on."""
    step = torch.arange(side, device=buffer.device)
    y, x = top[:, :1] + step, top[:, 1:] + step
    inside = (y < bottom[:, :1])[:, :, None] & (x < bottom[:, 1:])[:, None, :]
    index = (starts[:, None] + y * shapes[:, 1:])[:, :, None] + x[:, None, :]
    return (buffer[index.clamp_(max=len(buffer) - 1)] & inside).float()


def _weights(
    low: torch.Tensor,
    high: torch.Tensor,
    grid: torch.Tensor,
    first_pixel: torch.Tensor,
    image_side: int,
    side: int,
    output_size: int,
) -> torch.Tensor:
    """(n, M, side): how much each window pixel along one axis counts in each of the M bins."""
    device = low.device
    bin_size = (high - low) / output_size
    bins = low[:, None] + torch.arange(output_size, device=device) * bin_size[:, None]
    pixels = (first_pixel[:, None] + torch.arange(side, device=device)).float()
    total = torch.zeros(len(low), output_size, side, device=device)
    for k in range(int(grid.max())):
        sample = bins + ((k + 0.5) * bin_size / grid.clamp(min=1))[:, None]
        counts = (k < grid)[:, None] & (sample >= -1) & (sample <= image_side)
        sample = sample.clamp(0, image_side - 1)
        near = 1 - (sample[:, :, None] - pixels[:, None, :]).abs()
        total += near.clamp_(min=0) * counts[:, :, None]
    return total / grid.clamp(min=1)[:, None, None]
