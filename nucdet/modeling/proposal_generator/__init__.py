"""Region proposals."""

from nucdet.modeling.proposal_generator.crop_rpn import CropRPN
from nucdet.modeling.proposal_generator.dense_rpn import DenseRPN, RepeatedRPNHead

__all__ = ["CropRPN", "DenseRPN", "RepeatedRPNHead"]
