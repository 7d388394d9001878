"""How much an image differs from those that a model was trained on, by the encoder's feature maps.

The features of an image are the mean and the logarithm of the standard deviation of each channel of
the feature maps at strides 4, 8 and 16. Those of training images scatter about a center. The
Mahalanobis distance from it (as in Lee et al., NeurIPS 2018, arXiv:1807.03888) distinguishes a
photograph from microscopy before any nucleus is detected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nucdet.modeling.backbones.timm_fpn import TimmBackbone

# the most telling feature maps: finer ones encode only grey values, the coarsest one only nuclei
STRIDES = (4, 8, 16)
# share of the identity in the correlation matrix: a thousand crops do not determine 350 dimensions
SHRINKAGE = 0.1
# added to standard deviations before their logarithm, so that a constant map is not infinitely far
_FLOOR = 0.02
# How much the doubt (1 - mean score) counts compared with the distance. Chosen on dsb2018_val
# against scikit-image's photographs, drawn textures and LIVECell, see docs/familiarity.md.
_DOUBT_POWER = 0.25
_LEAST_DOUBT = 0.02


class Seen(NamedTuple):
    """The encoder's features of an image or of a part of one.

    Attributes:
        features: (D,) float32 on the CPU, see :func:`pooled`.
        side: square root of the number of pixels that the encoder saw.
    """

    features: Tensor
    side: float


class FeatureTap:
    """Collects the pooled feature maps of a model's encoder while the model predicts."""

    def __init__(self, model: nn.Module):
        """
        Args:
            model: one with a :class:`TimmBackbone`; nothing is collected from others.
        """
        self._seen: list[Seen] = []
        self._handle = None
        backbone = next((m for m in model.modules() if isinstance(m, TimmBackbone)), None)
        if backbone is not None:
            reductions = backbone.body.feature_info.reduction()
            self._levels = [reductions.index(stride) for stride in STRIDES]
            self._handle = backbone.body.register_forward_hook(self._keep)

    def take(self) -> list[Seen]:
        """The features of each image of the first batch since the last call; [] without an encoder.

        If a model predicts several views of an image, the first view is the image itself.
        """
        seen, self._seen = self._seen, []
        return seen

    def close(self) -> None:
        """Stop collecting."""
        if self._handle is not None:
            self._handle.remove()

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], maps: list[Tensor]) -> None:
        if not self._seen and not module.training:
            side = math.prod(inputs[0].shape[2:]) ** 0.5
            features = pooled([maps[level].detach() for level in self._levels])
            self._seen = [Seen(one, side) for one in features]


def pooled(maps: list[Tensor]) -> Tensor:
    """Mean and logarithm of the standard deviation of each channel over the pixels.

    Args:
        maps: (N, C, H, W) each.

    Returns:
        (N, 2 × the sum of all C) float32, on the CPU.
    """
    parts = []
    for one in maps:
        # torch.std_mean takes four times as long for channels-last maps, as they are on a CPU
        pixels = one.float().permute(0, 2, 3, 1).flatten(1, 2)
        mean = pixels.mean(dim=1, keepdim=True)
        deviation = (pixels - mean).square_().mean(dim=1).sqrt()
        parts += [mean[:, 0], (deviation + _FLOOR).log()]
    return torch.cat(parts, dim=1).cpu()


@dataclass(frozen=True)
class Familiarity:
    """The distribution of the features of a model's training images, and the limits for warnings.

    Attributes:
        center: (D,) float32, mean of the features of training images.
        whitening: (D, D) float16, maps features minus the center to a space in which those of
            training images have an expected squared norm of nearly 1.
        sides: (S,) float32, ascending: square roots of numbers of pixels of a view.
        limits: (S,) float32, the distance that few familiar views of each of these sizes exceed;
            the features of small views scatter more.
        usual_doubt: 1 - mean score that is typical of familiar images.
    """

    center: Tensor
    whitening: Tensor
    sides: Tensor
    limits: Tensor
    usual_doubt: float

    @classmethod
    def of_features(cls, features: Tensor) -> Familiarity:
        """From the features of training images, (N, D), with placeholders for the limits."""
        features = features.double()
        center = features.mean(dim=0)
        scale = features.std(dim=0, correction=0) + 1e-3
        ready = (features - center) / scale
        correlation = ready.T @ ready / len(ready)
        shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * torch.eye(len(center)).double()
        whitening = torch.linalg.cholesky(torch.linalg.inv(shrunk)) / scale[:, None]
        whitening = (whitening / len(center) ** 0.5).half()
        return cls(center.float(), whitening, torch.ones(1), torch.ones(1), 1.0)

    def distances(self, features: Tensor) -> Tensor:
        """(N,) distances of features (N, D) from the center."""
        return ((features - self.center) @ self.whitening.float()).norm(dim=1)

    def strangeness(self, seen: Sequence[Seen], scores: Tensor) -> float:
        """How unlike the training images an image is; few familiar ones exceed 1.

        Args:
            seen: of its tiles, at least one; the median over the tiles counts.
            scores: (N,) of the detected nuclei. Low scores make an image stranger, high ones less
                strange.
        """
        sides = np.log([one.side for one in seen])
        limits = np.exp(np.interp(sides, self.sides.log(), self.limits.log()))
        distances = self.distances(torch.stack([one.features for one in seen])).numpy()
        return float(np.median(distances / limits)) * self.doubt(scores)

    def doubt(self, scores: Tensor) -> float:
        """The factor by which low scores multiply the distance; 1 if nothing was found."""
        if not len(scores):
            return 1.0
        doubt = 1 - float(scores.mean()) + _LEAST_DOUBT
        return (doubt / (self.usual_doubt + _LEAST_DOUBT)) ** _DOUBT_POWER

    def state(self) -> dict[str, Any]:
        """The value that a checkpoint stores under the key "familiarity"."""
        return dict(vars(self))

    @classmethod
    def from_checkpoint(cls, content: Mapping[str, Any]) -> Familiarity | None:
        """From the content of a checkpoint; None if it has no key "familiarity"."""
        state = content.get("familiarity")
        return None if state is None else cls(**state)
