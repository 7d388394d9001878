"""Mask R-CNN for many small nuclei: masks as crops, dense proposals, several views."""

from nucdet.modeling.mask_rcnn.dense_roi_heads import DenseROIHeads
from nucdet.modeling.mask_rcnn.dense_rpn import DenseRPN, RepeatedRPNHead
from nucdet.modeling.mask_rcnn.nucleus_rcnn import NucleusRCNN

__all__ = ["DenseROIHeads", "DenseRPN", "NucleusRCNN", "RepeatedRPNHead"]
