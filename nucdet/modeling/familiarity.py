"""How far an image is from those that a model was trained on, by the encoder's feature maps.

Of each map of the strides 4, 8 and 16 the mean and the logarithm of the standard deviation over the
image are kept. In training they scatter about a center; the distance from it, measured in the
directions and widths of that scatter (Mahalanobis, as Lee et al., NeurIPS 2018, arXiv:1807.03888,
use it), is what tells a photograph from microscopy, long before nuclei are looked for.
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

# of the maps that tell most: finer ones know grey values alone, the coarsest one knows nuclei only
STRIDES = (4, 8, 16)
# share of the identity in the matrix of correlations: a thousand crops do not fill 350 directions
SHRINKAGE = 0.1
# added to standard deviations before their logarithm, so that a constant map is not infinitely far
_FLOOR = 0.02
# How much the doubt of the scores counts beside the distance. Chosen on dsb2018_val against
# scikit-image's photographs, drawn textures and LIVECell, see docs/familiarity.md.
_DOUBT_POWER = 0.25
_LEAST_DOUBT = 0.02


class Seen(NamedTuple):
    """What an encoder made of an image or a part of one.

    Attributes:
        features: (D,) float32 on the CPU, see :func:`pooled`.
        side: square root of the number of pixels that it saw.
    """

    features: Tensor
    side: float


class FeatureTap:
    """Keeps the pooled feature maps of a model's encoder when the model runs anyway."""

    def __init__(self, model: nn.Module):
        """
        Args:
            model: one with a :class:`TimmBackbone`; of others nothing is kept.
        """
        self._seen: list[Seen] = []
        self._handle = None
        backbone = next((m for m in model.modules() if isinstance(m, TimmBackbone)), None)
        if backbone is not None:
            reductions = backbone.body.feature_info.reduction()
            self._levels = [reductions.index(stride) for stride in STRIDES]
            self._handle = backbone.body.register_forward_hook(self._keep)

    def take(self) -> list[Seen]:
        """Of each image of the first batch since the last call; empty where there is no encoder.

        A model that looks at an image in several views shows it as it is first.
        """
        seen, self._seen = self._seen, []
        return seen

    def close(self) -> None:
        """Listen no more."""
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
        # std_mean takes four times as long where channels lie innermost, as they do on a CPU
        pixels = one.float().permute(0, 2, 3, 1).flatten(1, 2)
        mean = pixels.mean(dim=1, keepdim=True)
        deviation = (pixels - mean).square_().mean(dim=1).sqrt()
        parts += [mean[:, 0], (deviation + _FLOOR).log()]
    return torch.cat(parts, dim=1).cpu()


@dataclass(frozen=True)
class Familiarity:
    """What a model remembers of its training images, and from which distance on it warns.

    Attributes:
        center: (D,) float32, mean of the features of training images.
        whitening: (D, D) float16, maps features less the center to a space in which those of
            training images have an expected square of nearly 1 in total.
        sides: (S,) float32, ascending: square roots of the numbers of pixels of a view.
        limits: (S,) float32, the distance that few familiar views of that size exceed: of small
            views the features scatter more.
        usual_doubt: 1 less the mean score, typical of familiar images.
    """

    center: Tensor
    whitening: Tensor
    sides: Tensor
    limits: Tensor
    usual_doubt: float

    @classmethod
    def of_features(cls, features: Tensor) -> Familiarity:
        """From the features of training images, (N, D); limits are still to be set."""
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
        """(N,) of features (N, D)."""
        return ((features - self.center) @ self.whitening.float()).norm(dim=1)

    def strangeness(self, seen: Sequence[Seen], scores: Tensor) -> float:
        """How strange an image is; few familiar ones exceed 1.

        Args:
            seen: of its tiles, at least one; the median tile counts.
            scores: (N,) of what was found in it. Unsure nuclei make an image stranger, sure ones
                less strange.
        """
        sides = np.log([one.side for one in seen])
        limits = np.exp(np.interp(sides, self.sides.log(), self.limits.log()))
        distances = self.distances(torch.stack([one.features for one in seen])).numpy()
        return float(np.median(distances / limits)) * self.doubt(scores)

    def doubt(self, scores: Tensor) -> float:
        """By which the distance is multiplied; 1 where nothing was found."""
        if not len(scores):
            return 1.0
        doubt = 1 - float(scores.mean()) + _LEAST_DOUBT
        return (doubt / (self.usual_doubt + _LEAST_DOUBT)) ** _DOUBT_POWER

    def state(self) -> dict[str, Any]:
        """As a checkpoint holds it, under the key "familiarity"."""
        return dict(vars(self))

    @classmethod
    def from_checkpoint(cls, content: Mapping[str, Any]) -> Familiarity | None:
        """What a checkpoint remembers, None where it remembers nothing."""
        state = content.get("familiarity")
        return None if state is None else cls(**state)
