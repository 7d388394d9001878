"""Whole networks: images in, Instances out."""

from nucdet.modeling.meta_arch.nucleus_rcnn import NucleusRCNN

__all__ = ["NucleusRCNN"]
