"""Checks before anything is built: the parts of a network exist, and its data suits it."""

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
    GeneralizedRCNN,
)

from nucdet.data.datasets import check_datasets, class_names
from nucdet.errors import EXTENSIONS_HINT, InputError, similar_names
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
        similar = similar_names(known, name)
        raise InputError(
            f"MODEL.{key} is {name!r}, which does not exist; expected one of "
            + (", ".join(similar) or f"{', '.join(known)} ({EXTENSIONS_HINT})")
        )
    if _rcnn_class(model.META_ARCHITECTURE) and not model.MASK_ON:
        raise InputError(
            "MODEL.MASK_ON is False, but nuclei need masks; set it to True, and "
            "MODEL.ROI_MASK_HEAD as in Detectron2's configs of Mask R-CNN"
        )


def check_training_data(cfg: CfgNode) -> None:
    """:func:`check_datasets` for a training, and check that the model can learn all its classes.

    Raises:
        FileNotFoundError, InputError: see :func:`check_datasets`, or the data sets of
            DATASETS.TRAIN have different classes, or more classes than the model.
    """
    check_datasets([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    classes = {name: class_names(name) for name in cfg.DATASETS.TRAIN}
    known = {name: found for name, found in classes.items() if found}
    limit = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    rcnn = _rcnn_class(cfg.MODEL.META_ARCHITECTURE)
    tells_classes_apart = rcnn is not None and not getattr(rcnn, "learns_one_class", False)
    for name, found in known.items():
        first = next(iter(known))
        if found != known[first]:
            raise InputError(
                f"DATASETS.TRAIN: {first} has the classes {', '.join(known[first])}, but {name} "
                f"{', '.join(found)}; expected the same for all: convert one with --class-name"
            )
        if tells_classes_apart and len(found) > limit:
            raise InputError(
                f"MODEL.ROI_HEADS.NUM_CLASSES is {limit}, but {name} has {len(found)} classes "
                f"({', '.join(found)}); set it to {len(found)}, or convert the data with "
                "--class-name to make one class of them"
            )


def _rcnn_class(architecture: str) -> type[GeneralizedRCNN] | None:
    """The class that MODEL.META_ARCHITECTURE names, if it is a GeneralizedRCNN."""
    found = META_ARCH_REGISTRY.get(architecture)
    return found if isinstance(found, type) and issubclass(found, GeneralizedRCNN) else None
