"""Config keys of networks that label pixels, and of the separation that makes nuclei of them."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_config(cfg: CfgNode) -> None:
    """Add MODEL.SEGMENTATION, MODEL.SEMANTIC and MODEL.SEPARATION to a config, in place."""
    _add_network(cfg)
    _add_inference(cfg)
    _add_separation(cfg)


def _add_network(cfg: CfgNode) -> None:
    segmentation = cfg.MODEL.SEGMENTATION = CfgNode()
    # Class of the network, see nucdet/modeling/semantic/networks; "none": the image's own grey
    # levels.
    segmentation.NETWORK = "TimmUNet"
    # 1: foreground; 3: background, body, border; 4: the maps of center voting.
    segmentation.NUM_CHANNELS = 3
    # Channels of the network's levels; how many and which is the network's to say.
    segmentation.CHANNELS = (128, 64, 48, 32, 16)
    # Share of the values that training sets to 0; where is the network's to say.
    segmentation.DROPOUT = 0.0
    # FCN8s: "BN" after each convolution, or "" as VGG16's published weights need it.
    segmentation.NORM = "BN"
    # UNetCS230: convolutions before the predictor; the report's "+1" has 3, its "-1" none.
    segmentation.LAST_CONVS = 2
    # MeanEnsemble: keys of MODEL.SEGMENTATION for each member, such as
    # [{"NETWORK": "SmallUNet", "CHANNELS": [16, 32, 64, 128]}, {"NETWORK": "LinkNet", …}].
    # MODEL.WEIGHTS "ensemble://a.pth,b.pth" takes each from its checkpoint.
    segmentation.MEMBERS = []
    # "bce", "bce_log_dice" (K = 1), "cross_entropy" (K = 3), "weighted_border" (U-Net's weights of
    # pixels), "focal"; see nucdet/modeling/semantic/losses.py.
    segmentation.LOSS = "cross_entropy"
    # "cross_entropy" and "weighted_border": weights of background, body and border.
    segmentation.CLASS_WEIGHTS = (1.0, 1.0, 1.0)


def _add_inference(cfg: CfgNode) -> None:
    semantic = cfg.MODEL.SEMANTIC = CfgNode()
    # 0: the network sees images as INPUT gives them. Else: resized to a square of this side and
    # the probabilities back.
    semantic.RESIZE = 0
    # Mean of the probabilities over "flips" (4 ways) or "flips_turns" (8 ways); "none". For whoever
    # has the time, which grows with the number of ways.
    semantic.TTA = "none"
    # Images with a mean above one half are inverted, in training too: nuclei become bright.
    semantic.INVERT_BRIGHT = False


def _add_separation(cfg: CfgNode) -> None:
    separation = cfg.MODEL.SEPARATION = CfgNode()
    # How foreground is chosen from its probability. "fixed": THRESHOLD_VALUE and above; "otsu": the
    # value that splits the image's histogram best; "hysteresis": connected above the lower of
    # HYSTERESIS and somewhere above the higher, for networks that are sure of some nuclei and not
    # of others (measured in docs/experiments.md).
    separation.THRESHOLD = "fixed"
    separation.THRESHOLD_VALUE = 0.5
    separation.HYSTERESIS = (0.3, 0.7)
    # How foreground is cut into nuclei. "components": connected pieces; "opening": eroded by a disc
    # of OPENING_RADIUS pixels, labelled, dilated back; "watershed": from the distance to the
    # background, or from the body and border maps where the network gives them. For nuclei of
    # other sizes than DSB2018's there is another radius.
    separation.METHOD = "watershed"
    separation.OPENING_RADIUS = 2.0
    # Watershed: how deep the valley between two hills must be to cut there, as a share of the lower
    # hill. On maps drawn from DSB2018's masks 0.15 is best for the distance, 0.3 for body and
    # border.
    separation.DEPTH = 0.15
    # Instances with fewer pixels are dropped.
    separation.MIN_SIZE = 10
    # Background that one instance encloses becomes part of it.
    separation.FILL_HOLES = True
