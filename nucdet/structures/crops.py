"""Tight crops of dense masks and label maps, from which :class:`CroppedMasks` is built."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from nucdet.errors import InputError

Crops = tuple[np.ndarray, list[np.ndarray]]


def crops_of_dense(masks: np.ndarray | torch.Tensor) -> Crops:
    """The tight crops of dense masks. From a GPU only the crops are copied.

    Args:
        masks: N x H x W bool or integers, nonzero = mask.

    Returns:
        (N, 2) int64, (y0, x0) of each crop, and N bool arrays (h, w); an empty mask is (0, 0) at
        (0, 0).

    Raises:
        InputError: not three dimensions, or neither bool nor integers.
    """
    if not torch.is_tensor(masks) or masks.device.type == "cpu":
        # numpy's any() over an axis is ten times faster than torch's
        masks = np.asarray(masks)
    if masks.ndim != 3 or not _is_whole(masks.dtype):
        raise InputError(
            f"masks: found shape {tuple(masks.shape)} of {masks.dtype}; "
            "expected NxHxW of bool or integers"
        )
    rows, columns = _on_host(masks.any(2)), _on_host(masks.any(1))
    offsets = np.zeros((len(masks), 2), dtype=np.int64)
    crops = []
    for i in range(len(masks)):
        y, x = np.flatnonzero(rows[i]), np.flatnonzero(columns[i])
        if not len(y):
            crops.append(np.zeros((0, 0), dtype=bool))
            continue
        offsets[i] = y[0], x[0]
        crops.append(_on_host(masks[i, y[0] : y[-1] + 1, x[0] : x[-1] + 1] != 0))
    return offsets, crops


def crops_of_label_map(labels: np.ndarray) -> Crops:
    """The tight crops of the labels of a label map, in ascending order of the labels.

    Args:
        labels: (H, W) integers or bool, 0 = background.

    Returns:
        (N, 2) int64, (y0, x0) of each crop, and N bool arrays (h, w).

    Raises:
        InputError: not two dimensions, not integers, negative labels.
    """
    labels, found = boxes_of_label_map(labels)
    offsets = np.array([(box[0].start, box[1].start) for _, box in found], dtype=np.int64)
    return offsets.reshape(-1, 2), [labels[box] == i for i, box in found]


def boxes_of_label_map(
    labels: np.ndarray,
) -> tuple[np.ndarray, list[tuple[int, tuple[slice, slice]]]]:
    """The label map, renumbered if a label is large, and the number and the box of each label.

    Arguments and errors as in :func:`crops_of_label_map`.
    """
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise InputError(
            f"label map: found shape {labels.shape} of {labels.dtype}; expected HxW of integers"
        )
    if labels.size and labels.min() < 0:
        raise InputError(f"label map: found label {labels.min()}; expected 0 or greater")
    if labels.size and labels.max() > labels.size:
        # find_objects makes a list as long as the greatest label
        values, ranks = np.unique(labels, return_inverse=True)
        labels = ranks.reshape(labels.shape) + (values[0] != 0)
    boxes = ndimage.find_objects(labels) if labels.size else []
    return labels, [(i, box) for i, box in enumerate(boxes, 1) if box]


def _is_whole(dtype: np.dtype | torch.dtype) -> bool:
    if isinstance(dtype, torch.dtype):
        return not (dtype.is_floating_point or dtype.is_complex)
    return dtype.kind in "biu"


def _on_host(array: np.ndarray | torch.Tensor) -> np.ndarray:
    return array.cpu().numpy() if torch.is_tensor(array) else array
