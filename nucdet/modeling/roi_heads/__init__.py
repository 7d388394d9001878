"""What looks at single regions of a picture."""

from nucdet.modeling.roi_heads.crop_mask_heads import CropTransposedMaskHead, CropUNetMaskHead
from nucdet.modeling.roi_heads.crop_roi_heads import CropROIHeads
from nucdet.modeling.roi_heads.dense_roi_heads import DenseROIHeads
from nucdet.modeling.roi_heads.nucleus_filter import NucleusFilter
from nucdet.modeling.roi_heads.picture_roi_heads import PictureROIHeads

__all__ = [
    "CropROIHeads",
    "CropTransposedMaskHead",
    "CropUNetMaskHead",
    "DenseROIHeads",
    "NucleusFilter",
    "PictureROIHeads",
]
