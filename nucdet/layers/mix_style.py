"""MixStyle (Zhou et al., ICLR 2021, arXiv:2104.02008): images of a batch exchange their style."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Beta

# parameter of the Beta distribution of the shares: most of them are near 0 or 1
_ALPHA = 0.2
_LEAST_DEVIATION = 1e-4


def mix_style(maps: Tensor) -> Tensor:
    """Give the maps of each image in part the statistics of another image of the batch.

    Mean and standard deviation of a channel over an image say how it was stained and exposed, not
    where its nuclei are. A network that sees them mixed learns to do without them, and finds more
    in images from elsewhere.

    Args:
        maps: (N, C, H, W) of N images. No gradient flows through their statistics.

    Returns:
        (N, C, H, W): each channel of each image with mean and standard deviation that are means of
        its own and those of another image, drawn at random, with the same random shares for all
        channels.
    """
    detached = maps.detach().float()
    deviation, mean = torch.std_mean(detached, dim=(2, 3), correction=0, keepdim=True)
    deviation = deviation + _LEAST_DEVIATION
    others = torch.randperm(len(maps), device=maps.device)
    own = Beta(_ALPHA, _ALPHA).sample((len(maps), 1, 1, 1)).to(maps.device)
    factor = own + (1 - own) * deviation[others] / deviation
    shift = own * mean + (1 - own) * mean[others] - mean * factor
    return maps * factor.to(maps.dtype) + shift.to(maps.dtype)


def mix_outputs(module: nn.Module, probability: float) -> None:
    """Apply :func:`mix_style` in training to this share of a module's outputs."""
    module.register_forward_hook(_MixOutputs(probability))


@dataclass(frozen=True)
class _MixOutputs:
    """A hook, and not a function within a function, so that a model can be pickled."""

    probability: float

    def __call__(self, module: nn.Module, _: object, output: Tensor) -> Tensor:
        drawn = module.training and torch.rand(()) < self.probability
        return mix_style(output) if drawn else output
