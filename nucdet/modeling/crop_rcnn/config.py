"""Config keys of CropRCNN, and of its parts inside Mask R-CNN."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.CROP_RCNN and MODEL.NUCLEUS_FILTER to a config, in place."""
    crop = cfg.MODEL.CROP_RCNN = CfgNode()
    # Which of "rpn", "filter" and "mask" are trained; the others stay as they are.
    crop.TRAIN_PARTS = ("rpn", "filter", "mask")
    # The grey image that CropRCNN and heads with crops see: each image's own range brought to 0–1,
    # dark ground for all. False: grey levels / 255, for comparing with the report, which does so;
    # docs/experiments.md says what that costs.
    crop.STRETCH = True
    # Channels of CropResNet (the RPN's backbone, the filter): first convolution, first residual
    # block, the other three; and of CropUNetMaskHead at the crop's size, at a half, a quarter, an
    # eighth. For networks of other sizes, as the report gives neither, and for tests.
    # MODEL.BACKBONE.FREEZE_AT: 1 freezes the first convolution of the backbone, 5 all of it.
    crop.BACKBONE_CHANNELS = (32, 64, 128)
    crop.UNET_CHANNELS = (16, 32, 32, 32)

    nucleus_filter = cfg.MODEL.NUCLEUS_FILTER = CfgNode()
    # What NucleusFilter does with detections. "drop": unlikely ones go; "rescore": scores are
    # multiplied by its probability; "off": there is no filter.
    nucleus_filter.MODE = "off"
    # The surest false proposals of each image that it is trained on, at most.
    nucleus_filter.FALSE_PER_IMAGE = 16
    # Boxes of background of each image that it is trained on. 0, with OTHERS_FOLDER: it learns from
    # other images alone, as the report's did.
    nucleus_filter.BACKGROUND_PER_IMAGE = 16
    # CropRCNN: folder of images without nuclei, or of CIFAR-10 (its python version), of
    # which each image brings some crops as further negatives; evaluation has crops of its own for
    # the filter's loss. "": none. For the filter as the report defines it (docs/experiments.md).
    nucleus_filter.OTHERS_FOLDER = ""

    # ImageROIHeads: feature maps of the mask head, ("image",) for those that take crops of the
    # image. Empty: those of MODEL.ROI_HEADS.
    cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES = ()
