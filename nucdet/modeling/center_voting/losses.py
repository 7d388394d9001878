"""The losses of center voting: foreground, depth and offsets."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nucdet.modeling.center_voting.targets import DEPTH, FOREGROUND, OFFSET_X, OFFSET_Y, WEIGHT

# smooth L1 is linear in errors of an offset above this, in units of the offset scale
_BETA = 0.05
# weight of the Dice loss; the others have 1
_DICE_WEIGHT = 0.5


def center_voting_losses(
    logits: Tensor, targets: Tensor, valid: Tensor, offset_scale: float
) -> dict[str, Tensor]:
    """The losses of a batch, each a scalar.

    - ``loss_foreground``: binary cross-entropy, mean over the valid pixels;
    - ``loss_dice``: half of 1 - Dice of the foreground, over the whole batch so that images without
      nuclei do no harm;
    - ``loss_depth``: binary cross-entropy with the depth, minus the entropy of the depth itself, so
      that 0 is perfect; a background pixel has weight 1, the mean weight in the foreground;
    - ``loss_offset``: smooth L1 in units of ``offset_scale``, with the weights of the nuclei.

    Args:
        logits: (N, 4, H, W) float32: foreground and depth before the sigmoid, dy and dx in units
            of ``offset_scale``.
        targets: (N, 5, H, W) float32 of :func:`center_targets`.
        valid: (N, H, W) float32, 1 for pixels that count, 0 for padding.
        offset_scale: pixels.
    """
    truth = targets[:, FOREGROUND]
    count = valid.sum().clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
    probability = logits[:, 0].sigmoid() * valid
    overlap = (probability * truth).sum()
    dice = (2 * overlap + 1) / (probability.sum() + (truth * valid).sum() + 1)

    weight = targets[:, WEIGHT] * valid
    total = weight.sum().clamp(min=1)
    depth = targets[:, DEPTH]
    depth_loss = F.binary_cross_entropy_with_logits(logits[:, 1], depth, reduction="none")
    least = F.binary_cross_entropy(depth, depth, reduction="none")
    depth_weight = (weight + (1 - truth)) * valid
    offsets = targets[:, OFFSET_Y : OFFSET_X + 1] / offset_scale
    error = F.smooth_l1_loss(logits[:, 2:4], offsets, reduction="none", beta=_BETA).sum(dim=1)
    return {
        "loss_foreground": (entropy * valid).sum() / count,
        "loss_dice": _DICE_WEIGHT * (1 - dice),
        "loss_depth": ((depth_loss - least) * depth_weight).sum() / count,
        "loss_offset": (error * weight).sum() / total,
    }
