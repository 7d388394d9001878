"""An ensemble of segmentation networks as one network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import Tensor, nn

from nucdet.errors import InputError
from nucdet.modeling.semantic.networks.build import (
    SEGMENTATION_REGISTRY,
    build_segmentation_network,
)
from nucdet.modeling.weight_sources import Weights, read_weights, weight_source


@SEGMENTATION_REGISTRY.register()
class MeanEnsemble(nn.Module):
    """The unweighted mean of its members' probabilities, before any threshold.

    Arra, Vijjigiri and Madineni (Indiana University, 2018, section 7) combine U-Net and LinkNet in
    this way. ``MODEL.WEIGHTS: "ensemble://a.pth,b.pth"`` loads each member, in order, from its own
    checkpoint; a checkpoint of the ensemble contains all of them.
    """

    output_stride = 1

    @configurable
    def __init__(self, *, members: Sequence[nn.Module]):
        """
        Args:
            members: networks with equal numbers of channels and an ``output_stride`` of 1.

        Raises:
            InputError: there are none, or one has another ``output_stride``.
        """
        super().__init__()
        if not members or any(member.output_stride != 1 for member in members):
            raise InputError(
                "MODEL.SEGMENTATION.MEMBERS: expected at least one network, each with logits of "
                "full size"
            )
        self.members = nn.ModuleList(members)
        self.size_divisibility = math.lcm(*(member.size_divisibility for member in members))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        channels = cfg.MODEL.SEGMENTATION.NUM_CHANNELS
        if channels not in (1, 3):
            raise InputError(
                f"MODEL.SEGMENTATION.NUM_CHANNELS is {channels}; MeanEnsemble takes the mean of "
                "probabilities, of foreground (1) or of background, body and border (3)"
            )
        members = []
        for keys in cfg.MODEL.SEGMENTATION.MEMBERS:
            own = cfg.clone()
            own.defrost()
            try:
                pairs = ((f"MODEL.SEGMENTATION.{key}", value) for key, value in keys.items())
                own.merge_from_list([text for pair in pairs for text in pair])
            except (AssertionError, AttributeError, KeyError, ValueError) as error:
                raise InputError(
                    f"MODEL.SEGMENTATION.MEMBERS: {keys}: {error}; expected MODEL.SEGMENTATION's "
                    "keys and their values for each member"
                ) from error
            if own.MODEL.SEGMENTATION.NETWORK == "MeanEnsemble":
                raise InputError(
                    f"MODEL.SEGMENTATION.MEMBERS: {keys}: names no other NETWORK; expected one for "
                    "each member"
                )
            members.append(build_segmentation_network(own))
        return {"members": members}

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the logits (N, K, H, W) of the members' mean probabilities."""
        logits = torch.stack([member(x) for member in self.members])
        if logits.shape[2] > 1:
            # the logarithm of the mean probability: softmax gives the mean back
            return F.log_softmax(logits, dim=2).logsumexp(dim=0) - math.log(len(logits))
        return F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)


@weight_source("ensemble", of_files=True)
def read_members(paths: str, model: nn.Module) -> Weights:
    """The weights of an ensemble's members, each from the checkpoint of its own training.

    Args:
        paths: the checkpoints, separated by commas, in the order of the members.
        model: a segmentor whose ``network`` is a :class:`MeanEnsemble`.

    Returns:
        Weights under the names of ``model``.

    Raises:
        FileNotFoundError: a checkpoint does not exist.
        InputError: there are more or fewer checkpoints than members, or one lacks a parameter of
            its member.
    """
    members = getattr(getattr(model, "network", None), "members", ())
    names = paths.split(",")
    if len(members) != len(names):
        raise InputError(
            f"MODEL.WEIGHTS ensemble://{paths}: names {len(names)} checkpoints, and the config's "
            f"network has {len(members)} members; give one for each, in order"
        )
    weights: Weights = {}
    for i, (path, member) in enumerate(zip(names, members, strict=True)):
        wrapper = nn.Module()
        wrapper.network = member
        found = read_weights(path, wrapper)
        missing = [name for name, _ in wrapper.named_parameters() if name not in found]
        if missing:
            raise InputError(
                f"MODEL.WEIGHTS {path}: weights of another network; {missing[0]} of the config's "
                f"{type(member).__name__} is not among them; give the members' own, in order"
            )
        inner = {name.removeprefix("network."): value for name, value in found.items()}
        weights |= {f"network.members.{i}.{name}": value for name, value in inner.items()}
    return weights
