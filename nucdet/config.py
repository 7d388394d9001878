"""Every config key that nucdet adds to Detectron2's, each with what it means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from nucdet.config_files import read_config_file
from nucdet.errors import InputError


def add_nucdet_config(cfg: CfgNode) -> None:
    """Add nucdet's keys to a Detectron2 config, in place."""
    _add_input(cfg)
    _add_sampling(cfg)
    _add_model(cfg)
    _add_segmentation(cfg)
    _add_separation(cfg)
    _add_solver(cfg)
    _add_test(cfg)
    _add_perturbation(cfg)
    _add_semantic_targets(cfg)
    _add_semantic_inference(cfg)
    _add_center_voting(cfg)
    _add_crop_rcnn(cfg)


def _add_input(cfg: CfgNode) -> None:
    # How the stored values of an image become the 8 bits that the network sees, in training,
    # evaluation and prediction: "none" leaves 8 bits as they are and stretches more than 8 bits,
    # "percentile" stretches every depth alike; see nucdet/data/io/normalization.py.
    cfg.INPUT.NORMALIZE = "none"
    # How INPUT.MIN_SIZE_* is applied. "shortest_edge": Detectron2's rule, the shorter side becomes
    # that long. "enlarge": images with a shorter side below it are enlarged to it, larger images
    # stay as they are; keeps nuclei of small tiles and of large pictures at comparable sizes.
    # "diameter": in training the median diameter of an image's nuclei becomes
    # TEST.NUCLEUS_DIAMETER; where it is not known, "enlarge".
    cfg.INPUT.RESIZE_RULE = "shortest_edge"
    # Whether a crop is cut from training images: INPUT.CROP.ENABLED, SIZE, and TYPE: "absolute",
    # smaller images stay as they are; "absolute_fill": those are zoomed until they fill the crop;
    # "relative": SIZE is a share of the image.

    aug = cfg.INPUT.AUGMENTATION = CfgNode()
    # Zoom drawn log-uniformly from this range, on top of the resize.
    aug.SCALE_JITTER = (1.0, 1.0)
    # Share of the crops that lie around a nucleus drawn at random, so that few are empty.
    aug.CROP_ON_NUCLEI = 0.0
    # Largest angle of an arbitrary rotation, in degrees; the picture is zoomed so far that no
    # corner from outside the image shows. 0: none.
    aug.ROTATION = 0.0
    # Share of the pictures that are rotated.
    aug.ROTATION_PROB = 0.5
    # Turns by a random multiple of 90 degrees. INPUT.RANDOM_FLIP is "none", "horizontal",
    # "vertical" or "both" (each direction by itself, with probability 1/2).
    aug.TURN_90 = False
    # Elastic warp: a smooth random displacement. PROB 0: none. ALPHA: standard deviation of the
    # displacement in pixels; SIGMA: over how many pixels it is correlated.
    aug.ELASTIC = CfgNode({"PROB": 0.0, "ALPHA": 3.0, "SIGMA": 24.0})
    # value × u, u in [1 - x, 1 + x]; contrast about the mean of the picture. 0: none.
    aug.BRIGHTNESS = 0.0
    aug.CONTRAST = 0.0
    # value ** u on 0–1, u log-uniform in [1 / x, x]. 1: none.
    aug.GAMMA = 1.0
    # Share of the pictures that become grey, and that are inverted (255 - value).
    aug.GREY_PROB = 0.0
    aug.INVERT_PROB = 0.0
    # Share of the pictures whose grey values are dyed from a random colour of the ground to one of
    # the nuclei, light on dark or dark on light: a cheap shift of domain.
    aug.COLOURISE_PROB = 0.0
    # More or less haematoxylin, eosin, DAB: factor from 1 ± STRENGTH and constant ± STRENGTH.
    aug.STAIN = CfgNode({"PROB": 0.0, "STRENGTH": 0.1})
    # Hue turned by up to HUE degrees, saturation × u, u in [1 - SATURATION, 1 + SATURATION].
    aug.HUE_SATURATION = CfgNode({"PROB": 0.0, "HUE": 20.0, "SATURATION": 0.3})
    # Each channel × u + v, u in [1 - GAIN, 1 + GAIN], v up to ±OFFSET grey levels.
    aug.CHANNELS = CfgNode({"PROB": 0.0, "GAIN": 0.2, "OFFSET": 15.0})
    # Share of the pictures with red, green and blue in random order.
    aug.CHANNEL_SHUFFLE_PROB = 0.0
    # The range 0–255 pressed into a part of it anywhere within; CONTRAST: its least share (faint
    # pictures lose less).
    aug.FADE = CfgNode({"PROB": 0.0, "CONTRAST": 0.2})
    # Uneven light or ground, smooth over the picture: a factor from 2^-STRENGTH to 2^STRENGTH, or
    # a glow (on a bright ground a shade) of up to STRENGTH × 128 grey levels.
    aug.ILLUMINATION = CfgNode({"PROB": 0.0, "STRENGTH": 0.5})
    # JPEG artefacts; QUALITY: the lowest, 1 to 95.
    aug.JPEG = CfgNode({"PROB": 0.0, "QUALITY": 30})
    # Gaussian blur and additive Gaussian noise: share of the pictures, and the largest standard
    # deviation (pixels for the blur, grey levels of 0–255 for the noise).
    aug.BLUR = CfgNode({"PROB": 0.0, "SIGMA": 1.5})
    aug.NOISE = CfgNode({"PROB": 0.0, "SIGMA": 12.0})
    # Copies of nuclei, turned and mirrored: share of the pictures that get some; how many, at most,
    # as a share of the nuclei in the crop that they come from; share of the pictures in which they
    # come from another picture of the same kind; share of the copies that touch another nucleus.
    aug.COPY_PASTE = CfgNode(
        {"PROB": 0.0, "MAX_FRACTION": 0.5, "OTHER_PICTURE": 0.5, "TOUCHING": 0.5}
    )
    # Share of the pictures that become one of four in a mosaic of the same size.
    aug.MOSAIC = CfgNode({"PROB": 0.0})
    # Instances with fewer pixels than this after augmentation are dropped (those that vanish,
    # slivers at the edge of a crop).
    aug.MIN_INSTANCE_AREA = 1


def _add_sampling(cfg: CfgNode) -> None:
    # A picture is drawn in proportion to 1 / (pictures of its kind of microscopy) ** BALANCE_KINDS
    # × (crops that it fills) ** BALANCE_CROPS. 0: as often as any other; 1: each kind, each pixel
    # as often as any other.
    cfg.DATALOADER.BALANCE_KINDS = 0.0
    cfg.DATALOADER.BALANCE_CROPS = 0.0
    # Decoded training pictures that stay in memory, MiB in each process that reads (DSB2018 has
    # 400). 0: none.
    cfg.DATALOADER.CACHE_MIB = 512


def _add_model(cfg: CfgNode) -> None:
    timm = cfg.MODEL.TIMM = CfgNode()
    # A timm model that supports features_only, for build_timm_fpn_backbone.
    timm.NAME = "tf_efficientnet_lite0"
    # "FrozenBN": statistics and affine as pretrained (the choice for batches of a few images);
    # "BN": trained batch norm.
    timm.NORM = "FrozenBN"
    # NucleusRCNN: a pixel belongs to a mask from this probability on.
    cfg.MODEL.ROI_MASK_HEAD.MASK_THRESH = 0.5


def _add_segmentation(cfg: CfgNode) -> None:
    segmentation = cfg.MODEL.SEGMENTATION = CfgNode()
    # Class of the network, see nucdet/modeling/semantic/networks; "none": the image's own grey
    # levels.
    segmentation.NETWORK = "TimmUNet"
    # 1: foreground; 3: background, body, border.
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
    # pixels, INPUT.SEMANTIC_TARGETS.WEIGHT_*), "focal".
    segmentation.LOSS = "cross_entropy"
    # "cross_entropy" and "weighted_border": weights of background, body and border.
    segmentation.CLASS_WEIGHTS = (1.0, 1.0, 1.0)
    # "focal": how much sure pixels are played down.
    segmentation.FOCAL_GAMMA = 2.0


def _add_separation(cfg: CfgNode) -> None:
    separation = cfg.MODEL.SEPARATION = CfgNode()
    # How foreground is chosen from its probability. "fixed": THRESHOLD_VALUE and above; "otsu": the
    # value that splits the picture's histogram best; "hysteresis": connected above the lower of
    # HYSTERESIS and somewhere above the higher.
    separation.THRESHOLD = "fixed"
    separation.THRESHOLD_VALUE = 0.5
    separation.HYSTERESIS = (0.3, 0.7)
    # How foreground is cut into nuclei. "components": connected pieces; "opening": eroded by a disc
    # of OPENING_RADIUS pixels, labelled, dilated back; "watershed": from the distance to the
    # background, or from the body and border maps where the network gives them.
    separation.METHOD = "watershed"
    separation.OPENING_RADIUS = 2.0
    # Watershed: sigma in pixels of the blur before it, and how deep the valley between two hills
    # must be to cut there, as a share of the lower hill. On maps drawn from DSB2018's masks 0.15 is
    # best for the distance, 0.3 for body and border.
    separation.SMOOTHING = 1.0
    separation.DEPTH = 0.15
    # Instances with fewer pixels are dropped.
    separation.MIN_SIZE = 10
    # Background that one instance encloses becomes part of it.
    separation.FILL_HOLES = True


def _add_solver(cfg: CfgNode) -> None:
    # "SGD" (with SOLVER.MOMENTUM), "ADAM" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Staged schedule: [{"until": iteration, "train": [prefixes of parameter names]}, …]; parameters
    # that match no prefix are frozen until that iteration. Empty: everything trains all the time.
    # What MODEL.BACKBONE.FREEZE_AT freezes stays frozen in every stage.
    cfg.SOLVER.STAGES = []
    # Exponential moving average of the weights, which then are what is evaluated and saved; the
    # decay an iteration, 0.999 say, less in the first iterations. 0: none.
    cfg.SOLVER.EMA_DECAY = 0.0
    # Early stop: training ends when TEST.BEST_METRIC has not improved for this many evaluations.
    # 0: never.
    cfg.SOLVER.EARLY_STOP_PATIENCE = 0


def _add_test(cfg: CfgNode) -> None:
    # Evaluators by name, see nucdet/evaluation/build.py.
    cfg.TEST.EVALUATORS = ("coco", "kaggle")
    # The metric that chooses model_best.pth, as "task/metric"; higher is better.
    cfg.TEST.BEST_METRIC = "kaggle/mAP"
    # Also compute the training losses on DATASETS.TEST at each evaluation (without augmentation).
    cfg.TEST.VALIDATION_LOSS = False

    # Diameter, in pixels as the network sees them, that prediction brings nuclei to when it is told
    # theirs: the median of the training pictures' medians (DSB2018: 31).
    cfg.TEST.NUCLEUS_DIAMETER = 31.0

    # TEST.AUG.ENABLED, for NucleusRCNN in evaluation and prediction: several views of each
    # picture, their boxes joined and their soft masks averaged. Zoom factors on top of the resize
    # (MIN_SIZES and MAX_SIZE do not count here), each view as it is and mirrored (TEST.AUG.FLIP),
    # and turned by 0 to 270 degrees (TURNS). The time grows with the number of views.
    cfg.TEST.AUG.ZOOMS = (1.0,)
    cfg.TEST.AUG.TURNS = False

    overlap = cfg.TEST.OVERLAP_ELIMINATION = CfgNode()
    overlap.ENABLED = True
    # Who gets the pixels that several masks claim: "area": the largest mask, "score": the surest.
    overlap.PRIORITY = "area"
    # Masks with fewer pixels, before or after the cut, are dropped.
    overlap.MIN_AREA = 0
    # MIN_AREA is lowered to this share of the median area of the picture's masks, before the cut:
    # where all nuclei are tiny, they are no debris. 0: it stays.
    overlap.MIN_AREA_LIMIT = 0.0
    # Masks smaller than this share of the image's mean mask area are dropped. 0: none.
    overlap.MIN_RELATIVE_AREA = 0.0
    # Before the cut, the share of the picture's median score that a mask must reach: on pictures of
    # a kind that was not in training all scores are lower, the right ones too. 0: none.
    overlap.MIN_RELATIVE_SCORE = 0.0
    # Before the cut, a score that the masks of each class must exceed and an area that they must
    # reach: one number for each class, tools/tune_thresholds.py finds them. Empty: none.
    overlap.CLASS_SCORE_THRESHOLDS = ()
    overlap.CLASS_MIN_AREAS = ()
    # Of a mask that was cut apart, only the largest connected piece stays.
    overlap.KEEP_LARGEST_PIECE = False
    # Holes in a mask are filled where no other mask lies in them.
    overlap.FILL_HOLES = False

    # Pixels of the image by which outlines move after overlap elimination (and only where that is
    # enabled): outwards into free background, never into a neighbour, or inwards if negative. For
    # ground truth that is drawn wider or narrower than that of training.
    cfg.TEST.OUTLINE_OFFSET = 0.0


def _add_perturbation(cfg: CfgNode) -> None:
    # What is done to the pictures of an evaluation, by name: "blur:2", "seed:0.05,0.1", …; all of
    # them in nucdet/data/augment/perturbations.py. "": nothing.
    cfg.TEST.PERTURBATION = ""


def _add_semantic_targets(cfg: CfgNode) -> None:
    targets = cfg.INPUT.SEMANTIC_TARGETS = CfgNode()
    # The third class of networks with MODEL.SEGMENTATION.NUM_CHANNELS 3. "touching": the strip
    # where two nuclei meet, "rim": all around each nucleus.
    targets.BORDER = "touching"
    # In pixels as the network sees them. BORDER_WIDTH: depth of the border into a nucleus, but at
    # most BORDER_SHARE (below 1) of the radius of the largest circle in it. BORDER_GAP
    # ("touching"): background is border where the distances to two nuclei add up to this at most.
    targets.BORDER_WIDTH = 3.0
    targets.BORDER_SHARE = 0.5
    targets.BORDER_GAP = 5.0
    # U-Net's weights of pixels for MODEL.SEGMENTATION.LOSS "weighted_border":
    # 1 + W0 · exp(-(d1 + d2)² / 2 SIGMA²), d1 and d2 being the distances to the two nearest nuclei.
    targets.WEIGHT_W0 = 10.0
    targets.WEIGHT_SIGMA = 5.0


def _add_semantic_inference(cfg: CfgNode) -> None:
    semantic = cfg.MODEL.SEMANTIC = CfgNode()
    # 0: the network sees pictures as INPUT gives them. Else: resized to a square of this side and
    # the probabilities back.
    semantic.RESIZE = 0
    # Mean of the probabilities over "flips" (4 ways) or "flips_turns" (8 ways); "none".
    semantic.TTA = "none"
    # Pictures with a mean above one half are inverted, in training too: nuclei become bright.
    semantic.INVERT_BRIGHT = False


def _add_center_voting(cfg: CfgNode) -> None:
    voting = cfg.MODEL.CENTER_VOTING = CfgNode()
    # Pixels, as the network sees them, that an output of 1 in the offset channels means.
    voting.OFFSET_SCALE = 16.0
    # Of the losses of foreground, Dice, depth and offset.
    voting.LOSS_WEIGHTS = (1.0, 0.5, 1.0, 1.0)
    # A pixel is foreground from this probability on.
    voting.THRESHOLD = 0.5
    # How votes are grouped, see nucdet/modeling/center_voting/grouping.py: how often a vote moves,
    # the blur of the votes in pixels, how deep the valley between two centers must be as a share of
    # the lower one, and how many votes a center needs.
    voting.STEPS = 3
    voting.SIGMA = 1.5
    voting.DEPTH = 0.3
    voting.MIN_VOTES = 10
    # The maps are the mean over these looks at an image: "one", "mirror" (2), "flips" (4).
    voting.VIEWS = "one"


def _add_crop_rcnn(cfg: CfgNode) -> None:
    crop = cfg.MODEL.CROP_RCNN = CfgNode()
    # CropRCNN: which of "rpn", "filter" and "mask" are trained; the others stay as they are.
    crop.TRAIN_PARTS = ("rpn", "filter", "mask")
    # The grey picture that CropRCNN and heads with crops see: each picture's own range brought to
    # 0–1, dark ground for all. False: grey levels / 255.
    crop.STRETCH = True
    # Side of the crops that filter and mask network see, a multiple of 8.
    crop.CROP_SIZE = 32
    # Channels of CropResNet (the RPN's backbone, the filter): first convolution, first residual
    # block, the other three. MODEL.BACKBONE.FREEZE_AT: 1 freezes the first convolution of the
    # backbone, 5 all of it.
    crop.BACKBONE_CHANNELS = (32, 64, 128)
    # CropUNetMaskHead: channels at the crop's size, at a half, a quarter, an eighth.
    crop.UNET_CHANNELS = (16, 32, 32, 32)
    # Boxes around nuclei that training cuts are moved by up to this share of their sides, and grow
    # or shrink by up to it.
    crop.JITTER = 0.2
    # Nuclei of an image that CropRCNN's mask network is trained on, at most.
    crop.MASKS_PER_IMAGE = 32

    nucleus_filter = cfg.MODEL.NUCLEUS_FILTER = CfgNode()
    # What NucleusFilter does with detections. "drop": those below THRESHOLD go; "rescore": scores
    # are multiplied by its probability; "off": there is no filter.
    nucleus_filter.MODE = "off"
    nucleus_filter.THRESHOLD = 0.5
    # Crops of each image in its training, at most: nuclei, background, the surest false proposals.
    nucleus_filter.NUCLEI_PER_IMAGE = 32
    nucleus_filter.BACKGROUND_PER_IMAGE = 16
    nucleus_filter.FALSE_PER_IMAGE = 16
    # CropRCNN: folder of images without nuclei, or of CIFAR-10 (its python version, unpacked), of
    # which each image brings OTHERS_PER_IMAGE crops as further negatives; evaluation has crops of
    # its own for the filter's loss. "": none.
    nucleus_filter.OTHERS_FOLDER = ""
    nucleus_filter.OTHERS_PER_IMAGE = 16

    # PictureROIHeads: feature maps of the mask head, ("image",) for those that take crops of the
    # picture. Empty: those of MODEL.ROI_HEADS.
    cfg.MODEL.ROI_MASK_HEAD.IN_FEATURES = ()
    # [[start of parameter names, factor], …]: their rate is SOLVER.BASE_LR × factor; the first
    # start that fits counts.
    cfg.SOLVER.LR_FACTORS = []


def load_config(config_file: str | Path | None = None, overrides: Sequence[str] = ()) -> CfgNode:
    """Detectron2's defaults + nucdet's keys + a yaml + ``KEY VALUE`` pairs, as a CfgNode.

    Raises:
        FileNotFoundError: ``config_file`` (or a file it names as _BASE_) does not exist.
        InputError: unknown key, value of a wrong type, odd number of overrides, broken yaml.
    """
    cfg = get_cfg()
    add_nucdet_config(cfg)
    source = str(config_file)
    try:
        if config_file is not None:
            loaded = read_config_file(config_file)
            if loaded.get("VERSION", cfg.VERSION) != cfg.VERSION:
                raise InputError(
                    f"{config_file}: VERSION is {loaded['VERSION']!r}, expected {cfg.VERSION}"
                )
            cfg.merge_from_other_cfg(CfgNode(loaded))
        source = "the command line"
        cfg.merge_from_list(list(overrides))
    except InputError:
        raise
    except (KeyError, ValueError, AssertionError, TypeError, AttributeError) as error:
        detail = error.args[0] if error.args else error
        raise InputError(
            f"{source}: {detail}; keys are listed in nucdet/config.py and Detectron2's defaults"
        ) from error
    return cfg
