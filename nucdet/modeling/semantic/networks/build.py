"""The registry of segmentation networks."""

from __future__ import annotations

import inspect
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry
from torch import nn

from nucdet.errors import InputError

SEGMENTATION_REGISTRY = Registry("SEGMENTATION")
SEGMENTATION_REGISTRY.__doc__ = """
Segmentation networks, chosen by the name of their class in MODEL.SEGMENTATION.NETWORK.

Each takes normalized images (N, C, H, W) float32, C = len(MODEL.PIXEL_MEAN), whose H and W are
multiples of its ``size_divisibility``, and returns (N, K, H / s, W / s) float32 with
K = MODEL.SEGMENTATION.NUM_CHANNELS and s its ``output_stride``. K = 1: logits of the foreground;
K = 3: of background, body and border; K = 4: the maps of center voting.
"""


def build_segmentation_network(cfg: CfgNode) -> nn.Module:
    """The network that MODEL.SEGMENTATION describes, with random weights.

    Raises:
        InputError: no network has this name.
    """
    name = cfg.MODEL.SEGMENTATION.NETWORK
    if name not in SEGMENTATION_REGISTRY:
        known = sorted(network for network, _ in SEGMENTATION_REGISTRY)
        raise InputError(f"MODEL.SEGMENTATION.NETWORK is {name!r}, expected one of {known}")
    return SEGMENTATION_REGISTRY.get(name)(cfg)


class ConfiguredNetwork:
    """Mixin: the arguments of ``__init__`` come from the keys of their names in MODEL.SEGMENTATION.

    ``in_channels`` is the number of channels of the image. A network gets those arguments that its
    ``__init__`` names.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        keys = cfg.MODEL.SEGMENTATION
        values = {
            "in_channels": len(cfg.MODEL.PIXEL_MEAN),
            "num_channels": keys.NUM_CHANNELS,
            "channels": keys.CHANNELS,
            "dropout": keys.DROPOUT,
            "norm": keys.NORM,
            "last_convs": keys.LAST_CONVS,
        }
        taken = inspect.signature(cls.__init__).parameters
        return {name: value for name, value in values.items() if name in taken}
