"""Config keys of semantic segmentation networks and of the separation into nuclei."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.SEGMENTATION, MODEL.SEMANTIC and MODEL.SEPARATION to a config, in place."""
    _add_network(cfg)
    _add_inference(cfg)
    _add_separation(cfg)


def _add_network(cfg: CfgNode) -> None:
    segmentation = cfg.MODEL.SEGMENTATION = CfgNode()
    # Class of the network, see nucdet/modeling/semantic/networks; "none": no network, the grey
    # levels of the image decide what is foreground.
    segmentation.NETWORK = "TimmUNet"
    # 1: foreground; 3: background, body, border; 4: the maps of center voting.
    segmentation.NUM_CHANNELS = 3
    # Channels of the network's levels; the docstring of each network says how many it takes.
    segmentation.CHANNELS = (128, 64, 48, 32, 16)
    # Dropout probability, for networks that have dropout.
    segmentation.DROPOUT = 0.0
    # FCN8s: "BN" for batch norm after each convolution of VGG16, "" for none, as its published
    # weights require.
    segmentation.NORM = "BN"
    # UNetCS230: 3×3 convolutions before the predictor; the report's "U-Net +1" has 3, "U-Net -1"
    # none.
    segmentation.LAST_CONVS = 2
    # MeanEnsemble: keys of MODEL.SEGMENTATION for each member, such as
    # [{"NETWORK": "SmallUNet", "CHANNELS": [16, 32, 64, 128]}, {"NETWORK": "LinkNet", …}].
    # MODEL.WEIGHTS "ensemble://a.pth,b.pth" loads each member from its own checkpoint.
    segmentation.MEMBERS = []
    # "bce", "bce_log_dice" (NUM_CHANNELS 1), "cross_entropy" (3), "weighted_border" (1 or 3; with
    # U-Net's pixel weights), "focal" (1 or 3); see nucdet/modeling/semantic/losses.py. Center
    # voting (4) has losses of its own.
    segmentation.LOSS = "cross_entropy"
    # "cross_entropy" and "weighted_border": weights of background, body and border.
    segmentation.CLASS_WEIGHTS = (1.0, 1.0, 1.0)


def _add_inference(cfg: CfgNode) -> None:
    semantic = cfg.MODEL.SEMANTIC = CfgNode()
    # Inference: side in pixels of the square to which images are resized for the network; the
    # probabilities are resized back. 0: the network sees images as INPUT gives them.
    semantic.RESIZE = 0
    # Test-time augmentation: the probabilities are the mean over "flips" (4 views) or "flips_turns"
    # (8 views) of each image; "none": no augmentation. For better masks in more time, which grows
    # with the number of views.
    semantic.TTA = "none"
    # Whether to invert images with a mean above 127.5, so that all nuclei are bright; also in
    # training.
    semantic.INVERT_BRIGHT = False


def _add_separation(cfg: CfgNode) -> None:
    separation = cfg.MODEL.SEPARATION = CfgNode()
    # Which pixels are foreground. "fixed": those with a probability of at least THRESHOLD_VALUE;
    # "otsu": those above Otsu's threshold for the image; "hysteresis": regions above the lower
    # value of HYSTERESIS that somewhere exceed the higher, for networks whose probabilities are
    # high on some nuclei and low on others (measured in docs/experiments_earlier.md).
    separation.THRESHOLD = "fixed"
    separation.THRESHOLD_VALUE = 0.5
    separation.HYSTERESIS = (0.3, 0.7)
    # How the foreground is split into nuclei. "components": connected components; "opening":
    # components after erosion by a disc of OPENING_RADIUS pixels, dilated back; "watershed": on the
    # distance to the background, or on the body and border maps if the network predicts them. The
    # radius suits DSB2018. For nuclei of other sizes, scale it with their diameter.
    separation.METHOD = "watershed"
    separation.OPENING_RADIUS = 2.0
    # Watershed: how deep the valley between two hills must be for a split, as a share of the lower
    # hill. On maps drawn from DSB2018's masks, 0.15 is best for the distance, 0.3 for body and
    # border.
    separation.DEPTH = 0.15
    # Instances with fewer pixels are dropped.
    separation.MIN_SIZE = 10
    # Background that one instance encloses becomes part of it.
    separation.FILL_HOLES = True
