"""Config keys of Mask R-CNN for nuclei."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add what NucleusRCNN knows beyond Detectron2's Mask R-CNN to a config, in place."""
    # A pixel belongs to a mask from this probability on.
    cfg.MODEL.ROI_MASK_HEAD.MASK_THRESH = 0.5
    # TEST.AUG.ENABLED, in evaluation and prediction: several views of each image, their boxes
    # joined and their soft masks averaged. Zoom factors on top of the resize (MIN_SIZES and
    # MAX_SIZE do not count here), each view as it is and mirrored (TEST.AUG.FLIP), and turned by 0
    # to 270 degrees (TURNS). For whoever has the time, which grows with the number of views: what
    # each brings is measured in docs/experiments_earlier.md.
    cfg.TEST.AUG.ZOOMS = (1.0,)
    cfg.TEST.AUG.TURNS = False
