"""Checks that the parts of a network that a config names exist, before anything is built."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
)

from nucdet.data.datasets import rcnn_class
from nucdet.errors import InputError, similar_names
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY

# valid names of nothing registered: a part that is left out, boxes that come with the images
_NOT_REGISTERED = ("", "PrecomputedProposals")


def check_architecture(cfg: CfgNode) -> None:
    """Check every name of a part of the network.

    Raises:
        InputError: nothing is registered under a name (the message proposes similar ones), or the
            network finds only boxes.
    """
    model = cfg.MODEL
    named = {
        "META_ARCHITECTURE": (META_ARCH_REGISTRY, model.META_ARCHITECTURE),
        "BACKBONE.NAME": (BACKBONE_REGISTRY, model.BACKBONE.NAME),
        "PROPOSAL_GENERATOR.NAME": (PROPOSAL_GENERATOR_REGISTRY, model.PROPOSAL_GENERATOR.NAME),
        "ANCHOR_GENERATOR.NAME": (ANCHOR_GENERATOR_REGISTRY, model.ANCHOR_GENERATOR.NAME),
        "ROI_HEADS.NAME": (ROI_HEADS_REGISTRY, model.ROI_HEADS.NAME),
        "ROI_BOX_HEAD.NAME": (ROI_BOX_HEAD_REGISTRY, model.ROI_BOX_HEAD.NAME),
        "ROI_MASK_HEAD.NAME": (ROI_MASK_HEAD_REGISTRY, model.ROI_MASK_HEAD.NAME),
    }
    if model.SEGMENTATION.NETWORK != "none":
        named["SEGMENTATION.NETWORK"] = (SEGMENTATION_REGISTRY, model.SEGMENTATION.NETWORK)
    for key, (registry, name) in named.items():
        if name in registry or name in _NOT_REGISTERED:
            continue
        known = sorted(entry for entry, _ in registry)
        similar = similar_names(known, name) or known
        raise InputError(
            f"MODEL.{key} is {name!r}, which does not exist; expected one of {', '.join(similar)}"
        )
    if rcnn_class(model.META_ARCHITECTURE) and not model.MASK_ON:
        raise InputError(
            "MODEL.MASK_ON is False, but nuclei need masks; set it to True, and "
            "MODEL.ROI_MASK_HEAD as in Detectron2's configs of Mask R-CNN"
        )
