"""Config keys of CropRCNN, and of its parts inside Mask R-CNN."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.CROP_RCNN and MODEL.NUCLEUS_FILTER to a config, in place."""
    crop = cfg.MODEL.CROP_RCNN = CfgNode()
    # Which of "rpn", "filter" and "mask" are trained; the others keep their weights.
    crop.TRAIN_PARTS = ("rpn", "filter", "mask")
    # Grey levels of the image that CropRCNN and heads with crops see, and of OTHERS_FOLDER's images
    # (below). True: each image's range is scaled to 0–1, and bright backgrounds are inverted.
    # False: grey levels / 255, as in report 000, for comparison with it; see
    # docs/published_systems.md for what that costs.
    crop.STRETCH = True
    # Channels of CropResNet (the RPN's backbone, the filter): first convolution, first residual
    # block, the other three; and of CropUNetMaskHead at the size of the crop, 1/2, 1/4 and 1/8 of
    # it. The report gives neither. For networks of other sizes, and for tests.
    # MODEL.BACKBONE.FREEZE_AT: 1 freezes the first convolution of the backbone, 5 all of it.
    crop.BACKBONE_CHANNELS = (32, 64, 128)
    crop.UNET_CHANNELS = (16, 32, 32, 32)

    nucleus_filter = cfg.MODEL.NUCLEUS_FILTER = CfgNode()
    # What NucleusFilter does with detections. "drop": removes those with a probability below 0.5;
    # "rescore": multiplies scores by its probability; "off": there is no filter.
    nucleus_filter.MODE = "off"
    # Training: most false proposals used per image; those with the highest scores are taken.
    nucleus_filter.FALSE_PER_IMAGE = 16
    # Training: most background boxes used per image. If both numbers are 0 and there is an
    # OTHERS_FOLDER, all negatives are from other images, as in report 000.
    nucleus_filter.BACKGROUND_PER_IMAGE = 16
    # CropRCNN: a folder of images without nuclei, or with CIFAR-10 (its python version). Crops of
    # them are additional negatives; evaluation uses other images than training. "": none. For the
    # filter as the report defines it (docs/published_systems.md).
    nucleus_filter.OTHERS_FOLDER = ""

    # ImageROIHeads: feature maps of the mask head, ("image",) for heads that take crops of the
    # image. Empty: those of MODEL.ROI_HEADS.
    cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES = ()
