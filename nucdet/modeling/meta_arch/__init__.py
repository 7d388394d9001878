"""Whole networks: images in, Instances out."""

from nucdet.modeling.meta_arch.crop_rcnn import CropRCNN
from nucdet.modeling.meta_arch.nucleus_rcnn import NucleusRCNN
from nucdet.modeling.meta_arch.semantic import SemanticInstanceSegmentor

__all__ = ["CropRCNN", "NucleusRCNN", "SemanticInstanceSegmentor"]
