"""Every config key that nucdet adds to Detectron2's, each with what it means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from yaml import YAMLError

from nucdet.errors import InputError


def add_nucdet_config(cfg: CfgNode) -> None:
    """Add nucdet's keys to a Detectron2 config, in place."""
    _add_input(cfg)
    _add_model(cfg)
    _add_solver(cfg)
    _add_test(cfg)


def _add_input(cfg: CfgNode) -> None:
    # How INPUT.MIN_SIZE_* is applied. "shortest_edge": Detectron2's rule, the shorter side becomes
    # that long. "enlarge": images with a shorter side below it are enlarged to it, larger images
    # stay as they are; keeps nuclei of small tiles and of large pictures at comparable sizes.
    cfg.INPUT.RESIZE_RULE = "shortest_edge"
    # Whether a square crop is cut from training images: INPUT.CROP.ENABLED, TYPE "absolute", SIZE.

    aug = cfg.INPUT.AUGMENTATION = CfgNode()
    # Zoom drawn log-uniformly from this range, on top of the resize.
    aug.SCALE_JITTER = (1.0, 1.0)
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
    # Gaussian blur and additive Gaussian noise: share of the pictures, and the largest standard
    # deviation (pixels for the blur, grey levels of 0–255 for the noise).
    aug.BLUR = CfgNode({"PROB": 0.0, "SIGMA": 1.5})
    aug.NOISE = CfgNode({"PROB": 0.0, "SIGMA": 12.0})
    # Instances with fewer pixels than this after augmentation are dropped (those that vanish,
    # slivers at the edge of a crop).
    aug.MIN_INSTANCE_AREA = 1


def _add_model(cfg: CfgNode) -> None:
    timm = cfg.MODEL.TIMM = CfgNode()
    # A timm model that supports features_only, for build_timm_fpn_backbone.
    timm.NAME = "tf_efficientnet_lite0"
    # "FrozenBN": statistics and affine as pretrained (the choice for batches of a few images);
    # "BN": trained batch norm.
    timm.NORM = "FrozenBN"
    # NucleusRCNN: a pixel belongs to a mask from this probability on.
    cfg.MODEL.ROI_MASK_HEAD.MASK_THRESH = 0.5


def _add_solver(cfg: CfgNode) -> None:
    # "SGD" (with SOLVER.MOMENTUM), "ADAM" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Staged schedule: [{"until": iteration, "train": [prefixes of parameter names]}, …]; parameters
    # that match no prefix are frozen until that iteration. Empty: everything trains all the time.
    # What MODEL.BACKBONE.FREEZE_AT freezes stays frozen in every stage.
    cfg.SOLVER.STAGES = []
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

    overlap = cfg.TEST.OVERLAP_ELIMINATION = CfgNode()
    overlap.ENABLED = True
    # Who gets the pixels that several masks claim: "area": the largest mask, "score": the surest.
    overlap.PRIORITY = "area"
    # Masks with fewer pixels, before or after the cut, are dropped.
    overlap.MIN_AREA = 0
    # Masks smaller than this share of the image's mean mask area are dropped. 0: none.
    overlap.MIN_RELATIVE_AREA = 0.0
    # Of a mask that was cut apart, only the largest connected piece stays.
    overlap.KEEP_LARGEST_PIECE = False
    # Holes in a mask are filled where no other mask lies in them.
    overlap.FILL_HOLES = False


def load_config(config_file: str | Path | None = None, overrides: Sequence[str] = ()) -> CfgNode:
    """Detectron2's defaults + nucdet's keys + a yaml + ``KEY VALUE`` pairs, as a CfgNode.

    Raises:
        FileNotFoundError: ``config_file`` (or a file it names as _BASE_) does not exist.
        InputError: unknown key, value of a wrong type, odd number of overrides, broken yaml.
    """
    cfg = get_cfg()
    add_nucdet_config(cfg)
    source = "the command line"
    try:
        if config_file is not None:
            source = str(config_file)
            if not Path(config_file).is_file():
                raise FileNotFoundError(f"{config_file}: no such config file")
            cfg.merge_from_file(str(config_file))
        source = "the command line"
        cfg.merge_from_list(list(overrides))
    except (KeyError, ValueError, AssertionError, YAMLError, AttributeError) as error:
        detail = error.args[0] if error.args else error
        raise InputError(
            f"{source}: {detail}; keys are listed in nucdet/config.py and Detectron2's defaults"
        ) from error
    return cfg
