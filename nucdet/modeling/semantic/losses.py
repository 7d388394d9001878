"""Losses of semantic segmentation networks.

All take logits (N, K, H, W), labels (N, H, W) int64 (0 background, 1 body, 2 border) and pixel
weights (N, H, W) float32 or None, and return a dict with one scalar float32 tensor for each loss.
With K = 1 every label above 0 is foreground. They compute in float32 from logits, so that no
probability is rounded to 0 or 1 before its logarithm.

A new loss is a function decorated with :func:`segmentation_loss`, here or in any imported module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor

from nucdet.errors import InputError

SegmentationLoss = Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]


class NamedLoss(NamedTuple):
    """A loss that MODEL.SEGMENTATION.LOSS may name, see :func:`segmentation_loss`."""

    compute: Callable[..., dict[str, Tensor]]
    channels: tuple[int, ...]
    weighted: bool


LOSSES: dict[str, NamedLoss] = {}


def segmentation_loss(
    name: str, *, channels: tuple[int, ...], weighted: bool = False
) -> Callable[[Callable[..., dict[str, Tensor]]], Callable[..., dict[str, Tensor]]]:
    """Decorator: registers the function as a loss for MODEL.SEGMENTATION.LOSS.

    If it has an argument ``class_weights``, it gets MODEL.SEGMENTATION.CLASS_WEIGHTS.

    Args:
        name: of the loss.
        channels: the values of MODEL.SEGMENTATION.NUM_CHANNELS that it supports.
        weighted: whether it uses pixel weights, which the targets then contain.

    Raises:
        ValueError: the name is taken.
    """

    def register(compute: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
        if name in LOSSES:
            raise ValueError(f"there is a loss {name!r} already")
        LOSSES[name] = NamedLoss(compute, channels, weighted)
        return compute

    return register


def find_loss(cfg: CfgNode) -> NamedLoss:
    """The entry of :data:`LOSSES` that MODEL.SEGMENTATION.LOSS names.

    Raises:
        InputError: there is none.
    """
    name = cfg.MODEL.SEGMENTATION.LOSS
    if name not in LOSSES:
        raise InputError(f"MODEL.SEGMENTATION.LOSS is {name!r}, expected one of {[*LOSSES]}")
    return LOSSES[name]


def build_segmentation_loss(cfg: CfgNode) -> SegmentationLoss:
    """The loss that MODEL.SEGMENTATION.LOSS names.

    Raises:
        InputError: there is no such loss, it does not fit NUM_CHANNELS, or CLASS_WEIGHTS are not
            three numbers.
    """
    node = cfg.MODEL.SEGMENTATION
    class_weights = tuple(node.CLASS_WEIGHTS)
    compute, channels, _ = find_loss(cfg)
    if node.NUM_CHANNELS not in channels:
        expected = " or ".join(map(str, channels))
        raise InputError(
            f"MODEL.SEGMENTATION.NUM_CHANNELS is {node.NUM_CHANNELS}, expected {expected} for LOSS "
            f"{node.LOSS!r}"
        )
    if len(class_weights) != 3:
        raise InputError(
            f"MODEL.SEGMENTATION.CLASS_WEIGHTS is {class_weights}, expected three numbers"
        )
    if "class_weights" in inspect.signature(compute).parameters:
        return partial(compute, class_weights=class_weights)
    return compute


@segmentation_loss("bce", channels=(1,))
def bce_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Binary cross-entropy of the foreground, mean over the pixels (``weights`` are ignored)."""
    return {"loss_bce": _pixel_losses(logits, labels).mean()}


@segmentation_loss("bce_log_dice", channels=(1,))
def bce_log_dice_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """BCE − log dice, which Arra et al. (2018) found best for LinkNet; ``weights`` are ignored.

    dice = (2 Σ p·g + 1) / (Σ p + Σ g + 1), where p is the probability of the foreground and g the
    ground truth. The formula in the report (section 3.2) is garbled; its text describes this one
    except for the 2, which the logarithm turns into a constant. It does not say over which pixels
    to sum. Here it is the whole batch, so that an image without nuclei does no harm; if the whole
    batch has none, the added ones keep the logarithm finite.
    """
    truth = (labels > 0).float()
    p = logits[:, 0].float().sigmoid()
    dice = (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)
    return {**bce_loss(logits, labels), "loss_log_dice": -dice.log()}


@segmentation_loss("cross_entropy", channels=(3,))
def cross_entropy_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    class_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, Tensor]:
    """Σ c·(−log p) / Σ c over the pixels, where p is the probability of a pixel's true class.

    c is the weight of that class; ``weights`` are ignored.
    """
    by_class = logits.new_tensor(class_weights, dtype=torch.float32)
    return {"loss_ce": F.cross_entropy(logits.float(), labels, by_class)}


@segmentation_loss("weighted_border", channels=(1, 3), weighted=True)
def weighted_border_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    *,
    class_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, Tensor]:
    """Cross-entropy weighted by pixel: U-Net, eq. 1 (Ronneberger et al., 2015, arXiv:1505.04597).

    The mapper's ``weights``, 1 + w0·exp(−(d1 + d2)² / 2σ²), are multiplied by the weight of the
    pixel's class (K = 1: that of background or of body); in the paper's w(x) the class weight
    replaces the 1. The sum over the pixels is divided by the sum of the weights, so that w0 changes
    which pixels count but not the size of the loss.

    Raises:
        ValueError: there are no weights.
    """
    if weights is None:
        raise ValueError("the loss weighted_border needs the mapper's sem_seg_weights")
    if logits.shape[1] == 1:
        labels = labels.clamp(max=1)
    weights = weights * weights.new_tensor(class_weights)[labels]
    return {"loss_border": (weights * _pixel_losses(logits, labels)).sum() / weights.sum()}


@segmentation_loss("focal", channels=(1, 3))
def focal_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, gamma: float = 2.0
) -> dict[str, Tensor]:
    """(1 − p)^γ · (−log p), mean over the pixels; p is the probability of the true class.

    Lin et al., 2017, arXiv:1708.02002, eq. 4. ``weights`` are ignored.
    """
    losses = _pixel_losses(logits, labels)
    # 1 − p without cancellation near p = 1
    error = -torch.expm1(-losses)
    return {"loss_focal": (error**gamma * losses).mean()}


def _pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p of each pixel's true class, (N, H, W) float32; K = 1: sigmoid, else softmax."""
    if logits.shape[1] == 1:
        truth = (labels > 0).float()
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), truth, reduction="none")
    return F.cross_entropy(logits.float(), labels, reduction="none")
