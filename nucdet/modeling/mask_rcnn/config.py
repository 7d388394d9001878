"""Config keys of Mask R-CNN for nuclei."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add the keys of NucleusRCNN that Detectron2's Mask R-CNN lacks to a config, in place."""
    # Lowest probability of a pixel that belongs to a mask.
    cfg.MODEL.ROI_MASK_HEAD.MASK_THRESH = 0.5
    # Test-time augmentation (TEST.AUG.ENABLED) in evaluation and prediction: the boxes of several
    # views of each image are joined and their soft masks averaged. ZOOMS: zoom factors on top of
    # the resize (MIN_SIZES and MAX_SIZE have no effect here). TEST.AUG.FLIP: each view also
    # mirrored. TURNS: each view also turned by 90, 180 and 270 degrees. For better masks in more
    # time, which grows with the number of views; docs/experiments_earlier.md measures what each
    # brings.
    cfg.TEST.AUG.ZOOMS = (1.0,)
    cfg.TEST.AUG.TURNS = False
