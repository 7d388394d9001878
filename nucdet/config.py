"""The config keys that several systems share, and how a yaml file becomes a config.

A system (a package of nucdet/modeling) defines its own keys in ``add_config(cfg)`` in its
config.py. Extensions outside that folder use :func:`config_keys`.
The comment above each key says what it means; if no yaml in configs/ sets the key, the comment
also says what the key is for (tests/test_config_keys.py).
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from nucdet.config_checks import check_config
from nucdet.config_files import read_config_file
from nucdet.earlier_keys import with_current_keys
from nucdet.errors import EXTENSIONS_HINT, InputError, similar_names

_SYSTEMS = Path(__file__).parent / "modeling"
_OF_EXTENSIONS: list[Callable[[CfgNode], None]] = []


def config_keys(add_config: Callable[[CfgNode], None]) -> Callable[[CfgNode], None]:
    """Decorator for a function that adds an extension's keys to every config loaded afterwards.

    Example::

        @config_keys
        def add_config(cfg: CfgNode) -> None:
            cfg.MODEL.MINE = CfgNode({"DEPTH": 3})
    """
    _OF_EXTENSIONS.append(add_config)
    return add_config


def add_nucdet_config(cfg: CfgNode) -> None:
    """Add the shared keys, those of each system and those of extensions to a config, in place."""
    _add_input(cfg)
    _add_augmentation(cfg)
    _add_sampling(cfg)
    _add_solver(cfg)
    _add_test(cfg)
    _add_overlap_elimination(cfg)
    for add_config in (*_system_configs(), *_OF_EXTENSIONS):
        add_config(cfg)


@cache
def _system_configs() -> tuple[Callable[[CfgNode], None], ...]:
    """``add_config`` of every nucdet/modeling/<system>/config.py, in alphabetical order.

    The files are loaded without their packages. Importing the packages would import all networks
    and take three seconds, even for a conversion or ``--help``.
    """
    functions = []
    for path in sorted(_SYSTEMS.glob("*/config.py")):
        spec = importlib.util.spec_from_file_location(f"nucdet_config_{path.parent.name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        functions.append(module.add_config)
    return tuple(functions)


def _add_input(cfg: CfgNode) -> None:
    # How the stored values of an image become the 8 bits that the network sees, in training,
    # evaluation and prediction. "none": 8-bit images are left unchanged, and images of higher bit
    # depth are stretched. "percentile": all images are stretched, whatever their bit depth. For
    # images from several cameras. See nucdet/data/io/normalization.py.
    cfg.INPUT.NORMALIZE = "none"
    # How INPUT.MIN_SIZE_* is applied. "shortest_edge": Detectron2's rule, which resizes the shorter
    # side to this length. "enlarge": images whose shorter side is below it are enlarged to it, and
    # larger images keep their size, so that nuclei have comparable sizes in small and in large
    # images. "diameter": training images are rescaled so that the median diameter of their nuclei
    # is TEST.NUCLEUS_DIAMETER; where the diameter is unknown, "enlarge" applies.
    cfg.INPUT.RESIZE_RULE = "shortest_edge"
    # Crops of training images are set by Detectron2's keys INPUT.CROP.ENABLED, SIZE and TYPE. TYPE
    # "absolute": images smaller than the crop keep their size; "absolute_fill": they are enlarged
    # until they fill it; "relative": SIZE is a fraction of the image.


def _add_augmentation(cfg: CfgNode) -> None:
    aug = cfg.INPUT.AUGMENTATION = CfgNode()
    # Range from which a zoom factor is drawn log-uniformly, on top of the resize.
    aug.SCALE_JITTER = (1.0, 1.0)
    # Share of the crops that are placed around a random nucleus, so that few crops are empty. For
    # large images with few nuclei.
    aug.CROP_ON_NUCLEI = 0.0
    # Largest angle of an arbitrary rotation, in degrees; the image is enlarged so that no area
    # outside it becomes visible. 0: none. ROTATION_PROB: share of the images that are rotated.
    aug.ROTATION = 0.0
    aug.ROTATION_PROB = 0.5
    # Rotation by a random multiple of 90 degrees. INPUT.RANDOM_FLIP is "none", "horizontal",
    # "vertical" or "both" (each direction independently, with probability 1/2).
    aug.TURN_90 = False
    # Elastic deformation: a smooth random displacement. PROB 0: none. ALPHA: standard deviation of
    # the displacement in pixels; SIGMA: its correlation length in pixels.
    aug.ELASTIC = CfgNode({"PROB": 0.0, "ALPHA": 3.0, "SIGMA": 24.0})
    # BRIGHTNESS: values are multiplied by u, drawn from [1 - x, 1 + x]. CONTRAST: their differences
    # from the mean of the image are multiplied by such a u. 0: none.
    aug.BRIGHTNESS = 0.0
    aug.CONTRAST = 0.0
    # Values on the scale 0–1 are raised to a power u, drawn log-uniformly from [1 / x, x]. 1: none.
    aug.GAMMA = 1.0
    # Share of the images that are made grey, and of those that are inverted (255 - value).
    aug.GREY_PROB = 0.0
    aug.INVERT_PROB = 0.0
    # Share of the images that are recolored: grey values become colors between a random background
    # color and a random color of nuclei, light on dark or dark on light.
    aug.COLORIZE_PROB = 0.0
    # Share of the images for each of five changes. STAIN: more or less hematoxylin, eosin and DAB.
    # HUE_SATURATION: another hue and saturation. CHANNELS: red, green and blue changed separately.
    # FADE: the range 0–255 reduced to a part of it. ILLUMINATION: uneven light or background. Their
    # strengths are in nucdet/data/augment/photometry.py.
    for name in ("STAIN", "HUE_SATURATION", "CHANNELS", "FADE", "ILLUMINATION"):
        aug[name] = CfgNode({"PROB": 0.0})
    # Share of the images that are mixed with their convolution by a random kernel of up to 7 × 7
    # pixels, which changes colors, contrast and texture. For images that are unlike those of the
    # training.
    aug.RANDOM_CONVOLUTION = CfgNode({"PROB": 0.0})
    # JPEG artefacts, as in images that were compressed at lower contrast or size and stretched or
    # enlarged since. PROB: share of the images; QUALITY: the lowest quality, 1 to 95; CONTRAST: the
    # lowest contrast when compressed, as a share of today's (1.0: the same); ZOOM: the largest
    # factor of the enlargement (1.0: none).
    aug.JPEG = CfgNode({"PROB": 0.0, "QUALITY": 30, "CONTRAST": 1.0, "ZOOM": 1.0})
    # Gaussian blur: share of the images, and the largest standard deviation in pixels.
    aug.BLUR = CfgNode({"PROB": 0.0, "SIGMA": 1.5})
    # Share of the images with additive Gaussian noise.
    aug.NOISE = CfgNode({"PROB": 0.0})
    # Nuclei are copied, rotated, flipped and pasted. PROB: share of the images. MAX_FRACTION: the
    # largest number of copies, as a share of the nuclei in the crop that they come from. TOUCHING:
    # share of the copies that touch another nucleus. For crowded tissue, which few training images
    # show: there, more and closer copies help.
    aug.COPY_PASTE = CfgNode({"PROB": 0.0, "MAX_FRACTION": 0.5, "TOUCHING": 0.5})
    # Share of the images over which another one of the same kind is laid, with its nuclei: their
    # light adds up, or their stains. For thick tissue, in which nuclei lie over each other.
    aug.OVERLAY = CfgNode({"PROB": 0.0})
    # Instances with fewer pixels than this after augmentation are dropped, such as slivers at the
    # edge of a crop.
    aug.MIN_INSTANCE_AREA = 1


def _add_sampling(cfg: CfgNode) -> None:
    # The probability that an image is drawn in training is proportional to
    # (crops that it fills) ** BALANCE_CROPS / (images of its kind of microscopy) ** BALANCE_KINDS.
    # 0 and 0: all images equally often. BALANCE_KINDS 1: all kinds equally often. BALANCE_CROPS 1:
    # all pixels equally often.
    cfg.DATALOADER.BALANCE_KINDS = 0.0
    cfg.DATALOADER.BALANCE_CROPS = 0.0
    # Size of the cache of decoded training images, MiB in each data-loading process (DSB2018 needs
    # 400). 0: no cache. For machines with little memory.
    cfg.DATALOADER.CACHE_MIB = 512


def _add_solver(cfg: CfgNode) -> None:
    # "SGD" (with SOLVER.MOMENTUM), "ADAM" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    # Staged schedule: [{"until": iteration, "train": [prefixes of parameter names]}, …]; parameters
    # that match no prefix are frozen until that iteration. Empty: all parameters are trained from
    # the start. Those that MODEL.BACKBONE.FREEZE_AT freezes stay frozen in every stage.
    cfg.SOLVER.STAGES = []
    # [[prefix of parameter names, factor], …]: their learning rate is SOLVER.BASE_LR × factor; the
    # first prefix that matches counts.
    cfg.SOLVER.LR_FACTORS = []
    # Decay per iteration of an exponential moving average of the weights, for example 0.999; it is
    # smaller in the first iterations. The averaged weights are evaluated and saved. 0: no average.
    cfg.SOLVER.EMA_DECAY = 0.0
    # Training stops early when TEST.BEST_METRIC has not improved for this many evaluations. 0: no
    # early stopping. For a training of unknown length, such as one on a few images of one's own.
    cfg.SOLVER.EARLY_STOP_PATIENCE = 0


def _add_test(cfg: CfgNode) -> None:
    # Evaluators by name, see nucdet/evaluation/registry.py.
    cfg.TEST.EVALUATORS = ("coco", "kaggle")
    # The metric that chooses model_best.pth, as "task/metric"; higher is better.
    cfg.TEST.BEST_METRIC = "kaggle/mAP"
    # Whether each evaluation also computes the training losses on DATASETS.TEST, without
    # augmentation, which doubles its time. For seeing when a training starts to overfit.
    cfg.TEST.VALIDATION_LOSS = False
    # Diameter of nuclei in training, in pixels of the network's input: the median of the images'
    # medians (DSB2018: 31). When the diameter of an image's nuclei is known, prediction rescales
    # the image so that they have this diameter.
    cfg.TEST.NUCLEUS_DIAMETER = 31.0
    # Name of a perturbation that is applied to the images of an evaluation, such as "blur:2" or
    # "seed:0.05,0.1"; nucdet/data/augment/perturbations.py has them all. "": none. For
    # benchmarks/robustness.py and nucdet-train --perturb.
    cfg.TEST.PERTURBATION = ""
    # By how many image pixels outlines are moved after overlap elimination (only if that is
    # enabled): outwards into free background but never into a neighbor, or inwards if negative.
    # 0, or at least 1. For ground truth that is drawn wider or narrower than in the training data.
    cfg.TEST.OUTLINE_OFFSET = 0.0

    # The score that a nucleus must exceed, in every system: from 0 ("find more") towards 1 ("be
    # sure"). It replaces MODEL.ROI_HEADS.SCORE_THRESH_TEST and, in TEST.OVERLAP_ELIMINATION,
    # CLASS_SCORE_THRESHOLDS and MIN_RELATIVE_SCORE; docs/threshold.md lists precision and recall.
    # None: those keys apply. For the option --threshold.
    cfg.TEST.SCORE_THRESHOLD = None


def _add_overlap_elimination(cfg: CfgNode) -> None:
    overlap = cfg.TEST.OVERLAP_ELIMINATION = CfgNode()
    overlap.ENABLED = True
    # Which mask keeps the pixels that several masks cover, which are cut from the others. "area":
    # the largest; "score": the one with the highest score.
    overlap.PRIORITY = "area"
    # Masks with fewer pixels, before or after the cut, are dropped.
    overlap.MIN_AREA = 0
    # MIN_AREA is lowered to this share of the median area of the image's masks before the cut, if
    # that is smaller, so that an image of tiny nuclei keeps them. 0: MIN_AREA is never lowered.
    overlap.MIN_AREA_LIMIT = 0.0
    # Masks smaller than this share of the image's mean mask area are dropped. 0: none.
    overlap.MIN_RELATIVE_AREA = 0.0
    # Before the cut, masks smaller than the image's median area are dropped if their score is below
    # this share of the image's median score. The limit is relative because all scores are lower on
    # kinds of images that were not in training. 0: none.
    overlap.MIN_RELATIVE_SCORE = 0.0
    # One number per class each: the score that its masks must exceed and the area that they must
    # reach, before the cut. Empty: no limits. For the best.yaml that nucdet-tune writes.
    overlap.CLASS_SCORE_THRESHOLDS = ()
    overlap.CLASS_MIN_AREAS = ()
    # Only the largest connected piece of a mask that was cut apart is kept. For predictions of
    # other tools, whose masks may consist of several pieces.
    overlap.KEEP_LARGEST_PIECE = False
    # Holes in a mask are filled where they contain no other mask. For ring-shaped masks, which
    # stained nuclear membranes produce.
    overlap.FILL_HOLES = False


def load_config(config_file: str | Path | None = None, overrides: Sequence[str] = ()) -> CfgNode:
    """Merge Detectron2's defaults, nucdet's keys, a yaml file and ``KEY VALUE`` pairs, in order.

    Raises:
        FileNotFoundError: ``config_file`` (or a file it names as _BASE_) does not exist.
        InputError: unknown key, value that is missing, of a wrong type or out of range, odd number
            of overrides, invalid yaml.
    """
    cfg = get_cfg()
    add_nucdet_config(cfg)
    defaults, source = cfg.clone(), str(config_file)
    try:
        if config_file is not None:
            loaded = with_current_keys(read_config_file(config_file), config_file)
            if loaded.get("VERSION", cfg.VERSION) != cfg.VERSION:
                raise InputError(
                    f"{config_file}: VERSION is {loaded['VERSION']!r}, expected {cfg.VERSION}"
                )
            cfg.merge_from_other_cfg(CfgNode(_with_floats(loaded, cfg)))
            _check_none_left(cfg, defaults)
        source = "the command line"
        cfg.merge_from_list(_with_floats_in_pairs(overrides, cfg))
        _check_none_left(cfg, defaults)
    except InputError:
        raise
    except (KeyError, ValueError, AssertionError, TypeError, AttributeError) as error:
        detail = _explained(" ".join(str(error.args[0] if error.args else error).split()), cfg)
        raise InputError(
            f"{source}: {detail}; keys are listed in nucdet/config.py, in the config.py of each "
            "package of nucdet/modeling, and in Detectron2's defaults"
        ) from error
    _apply_score_threshold(cfg)
    check_config(cfg)
    return cfg


def _check_none_left(cfg: CfgNode, defaults: CfgNode, prefix: str = "") -> None:
    """Raise ValueError if a key lost its value: yacs takes None, an empty one, for any key."""
    for key, default in defaults.items():
        if isinstance(default, CfgNode):
            _check_none_left(cfg[key], default, f"{prefix}{key}.")
        elif cfg[key] is None and default is not None:
            expected = f"{type(default).__name__}, as {default!r}"
            raise ValueError(f"{prefix}{key} has no value (None); expected {expected}")


def _explained(message: str, node: CfgNode) -> str:
    """Rephrase yacs's message about a wrong key or type to name what was found and expected."""
    mismatch = re.fullmatch(
        r"Type mismatch \(<class '(\S+)'> vs\. <class '(\S+)'>\) "
        r"with values \((.*) vs\. (.*)\) for config key: (\S+)",
        message,
    )
    if mismatch:
        wanted, kind, usual, found, key = mismatch.groups()
        if wanted.endswith("CfgNode"):
            return f"{key} is {found}; expected keys below it"
        if (wanted, kind) == ("tuple", "str"):
            usual = f"({found!r},)"
        return f"{key} is {found} ({kind}); expected {wanted}, as {usual or repr(usual)}"
    unknown = re.match(r"Non-existent (?:config )?key: (\S+)", message)
    for part in unknown[1].split(".") if unknown else ():
        if part not in node:
            similar = ", ".join(similar_names(node, part))
            return f"{message} ({f'there is {similar}' if similar else EXTENSIONS_HINT})"
        node = node[part]
    return message


def _apply_score_threshold(cfg: CfgNode) -> None:
    """Set the keys that TEST.SCORE_THRESHOLD replaces, in place."""
    threshold = cfg.TEST.SCORE_THRESHOLD
    if threshold is None:
        return
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        threshold = math.nan
    if not 0 <= threshold < 1:
        raise InputError(
            f"the score threshold (TEST.SCORE_THRESHOLD) is {cfg.TEST.SCORE_THRESHOLD!r}; expected "
            "a number from 0 (find more) to below 1 (be sure)"
        )
    rules = {
        "CLASS_SCORE_THRESHOLDS": (float(threshold),) * cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        "MIN_RELATIVE_SCORE": 0.0,
    }
    keys = {
        "MODEL": {"ROI_HEADS": {"SCORE_THRESH_TEST": float(threshold)}},
        "TEST": {"OVERLAP_ELIMINATION": rules},
    }
    cfg.merge_from_other_cfg(CfgNode(keys))


def _with_floats(loaded: dict[str, Any], defaults: CfgNode) -> dict[str, Any]:
    """Convert integers to floats where the default is a float: yacs does not accept 1 for 1.0."""
    result = {}
    for key, value in loaded.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, CfgNode):
            value = _with_floats(value, default)
        elif type(value) is int and isinstance(default, float):
            value = float(value)
        result[key] = value
    return result


def _with_floats_in_pairs(overrides: Sequence[str], defaults: CfgNode) -> list[Any]:
    """Like :func:`_with_floats`, for ``KEY VALUE`` pairs."""
    result: list[Any] = list(overrides)
    for i in range(0, len(result) - 1, 2):
        default: Any = defaults
        for part in str(result[i]).split("."):
            default = default.get(part) if isinstance(default, CfgNode) else None
        if isinstance(default, float) and re.fullmatch(r"[+-]?\d+", str(result[i + 1])):
            result[i + 1] = float(result[i + 1])
    return result
