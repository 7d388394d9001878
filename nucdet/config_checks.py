"""The allowed values of config keys in one table, checked whenever a config is loaded.

Names of networks are checked in nucdet/modeling/architecture_checks.py, which knows the networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from detectron2.config import CfgNode

from nucdet.errors import InputError

# which mask keeps the pixels that several claim: nucdet/postprocessing/rules.py
_PRIORITIES = ("area", "score")
# which pixels are foreground: nucdet/postprocessing/separation.py
_THRESHOLDS = ("fixed", "otsu", "hysteresis")
# those that detectron2.solver.build_lr_scheduler accepts
_SCHEDULERS = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")
_WARMUPS = ("linear", "constant")
_SAMPLERS = ("TrainingSampler", "RepeatFactorTrainingSampler")
# keys of INPUT.AUGMENTATION: shares of the images, the nuclei or the crops
_SHARES_OF_IMAGES = (
    "CROP_ON_NUCLEI",
    "ROTATION_PROB",
    "GREY_PROB",
    "INVERT_PROB",
    "COLORIZE_PROB",
    *(
        f"{name}.PROB"
        for name in (
            "ELASTIC", "STAIN", "HUE_SATURATION", "CHANNELS", "FADE", "ILLUMINATION", "JPEG",
            "BLUR", "NOISE", "COPY_PASTE", "OVERLAY", "RANDOM_CONVOLUTION",
        )
    ),
    "COPY_PASTE.TOUCHING",
)  # fmt: skip


@dataclass(frozen=True)
class _Rule:
    holds: Callable[[Any], bool]
    expected: str


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _number_from(least: float, unit: str = "a number") -> _Rule:
    return _Rule(lambda value: _is_number(value) and value >= least, f"{unit} of at least {least}")


def _number_between(least: float, most: float, unit: str = "a number") -> _Rule:
    return _Rule(
        lambda value: _is_number(value) and least <= value <= most, f"{unit}, {least} to {most}"
    )


def _whole_from(least: int, unit: str = "a whole number") -> _Rule:
    return _Rule(
        lambda value: isinstance(value, Integral) and value >= least, f"{unit}, {least} or more"
    )


def _number_above_0(unit: str = "a number") -> _Rule:
    return _Rule(lambda value: _is_number(value) and value > 0, f"{unit}, above 0")


def _one_of(names: Sequence[str]) -> _Rule:
    return _Rule(lambda name: name in names, f"one of {', '.join(names)}")


def _each(rule: _Rule, place: str = "for each class") -> _Rule:
    return _Rule(lambda values: all(map(rule.holds, values)), f"{rule.expected}, {place}")


_AREA = _whole_from(0, "a number of pixels")
_SHARE = _number_from(0, "a share")
_NAMES = _Rule(lambda names: all(isinstance(name, str) for name in names), "names")
# scores of all nucdet's networks are probabilities
_PROBABILITY = _number_between(0, 1)


_RULES = {
    "DATASETS.TRAIN": _NAMES,
    "DATASETS.TEST": _NAMES,
    "INPUT.MIN_SIZE_TRAIN": _Rule(
        lambda sizes: len(sizes) > 0 and all(isinstance(s, Integral) and s >= 0 for s in sizes),
        "one or more numbers of pixels (0: no resize)",
    ),
    "INPUT.MAX_SIZE_TRAIN": _whole_from(1, "a number of pixels"),
    **{f"INPUT.AUGMENTATION.{key}": _number_between(0, 1, "a share") for key in _SHARES_OF_IMAGES},
    "INPUT.AUGMENTATION.SCALE_JITTER": _Rule(
        lambda ends: len(ends) == 2 and all(map(_is_number, ends)) and 0 < ends[0] <= ends[1],
        "the least and the largest factor, above 0",
    ),
    "INPUT.AUGMENTATION.ROTATION": _number_between(0, 360, "degrees"),
    "INPUT.AUGMENTATION.ELASTIC.ALPHA": _number_from(0, "a number of pixels"),
    "INPUT.AUGMENTATION.ELASTIC.SIGMA": _number_above_0("a number of pixels"),
    "INPUT.AUGMENTATION.BRIGHTNESS": _number_between(0, 1),
    "INPUT.AUGMENTATION.CONTRAST": _number_between(0, 1),
    "INPUT.AUGMENTATION.GAMMA": _number_above_0("an exponent"),
    "INPUT.AUGMENTATION.JPEG.QUALITY": _number_between(1, 95),
    "INPUT.AUGMENTATION.JPEG.CONTRAST": _number_between(0.01, 1, "a share"),
    "INPUT.AUGMENTATION.JPEG.ZOOM": _number_between(1, 16, "a factor"),
    "INPUT.AUGMENTATION.BLUR.SIGMA": _number_above_0("a number of pixels"),
    "INPUT.AUGMENTATION.COPY_PASTE.MAX_FRACTION": _SHARE,
    "INPUT.MIN_SIZE_TEST": _whole_from(0, "a number of pixels (0: no resize)"),
    "INPUT.MAX_SIZE_TEST": _whole_from(1, "a number of pixels"),
    "DATALOADER.SAMPLER_TRAIN": _one_of(_SAMPLERS),
    # beyond 10 the weights of a small data set are no longer numbers
    "DATALOADER.BALANCE_KINDS": _number_between(0, 10),
    "DATALOADER.BALANCE_CROPS": _number_between(0, 10),
    "DATALOADER.NUM_WORKERS": _whole_from(0, "a number of processes"),
    "DATALOADER.CACHE_MIB": _number_from(0, "a number of MiB"),
    "MODEL.ROI_MASK_HEAD.MASK_THRESH": _PROBABILITY,
    "MODEL.CENTER_VOTING.OFFSET_SCALE": _number_above_0("a number of pixels"),
    "MODEL.CENTER_VOTING.THRESHOLD": _PROBABILITY,
    "MODEL.CENTER_VOTING.STEPS": _whole_from(1, "a number of steps"),
    "MODEL.CENTER_VOTING.SIGMA": _number_above_0("a number of pixels"),
    "MODEL.CENTER_VOTING.DEPTH": _number_between(0, 1, "a share"),
    "MODEL.CENTER_VOTING.MIN_VOTES": _number_from(0, "a number of pixels"),
    "MODEL.ROI_HEADS.NUM_CLASSES": _whole_from(1, "a number of classes"),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": _PROBABILITY,
    "MODEL.TIMM.MIX_STYLE": _number_between(0, 1, "a share"),
    "MODEL.BACKBONE.FREEZE_AT": _number_between(0, 5, "a number of stages"),
    "MODEL.SEGMENTATION.CHANNELS": _each(_whole_from(1), "for each level"),
    "MODEL.SEGMENTATION.DROPOUT": _PROBABILITY,
    "MODEL.SEGMENTATION.CLASS_WEIGHTS": _each(_number_from(0)),
    "MODEL.SEPARATION.THRESHOLD": _one_of(_THRESHOLDS),
    "MODEL.SEPARATION.THRESHOLD_VALUE": _PROBABILITY,
    "MODEL.SEPARATION.HYSTERESIS": _Rule(
        lambda ends: len(ends) == 2 and all(map(_PROBABILITY.holds, ends)) and ends[0] <= ends[1],
        "the lower and the higher threshold, 0 to 1",
    ),
    "MODEL.SEPARATION.OPENING_RADIUS": _number_above_0("a number of pixels"),
    "MODEL.SEPARATION.DEPTH": _number_between(0, 1, "a share"),
    "MODEL.SEPARATION.MIN_SIZE": _AREA,
    "MODEL.PIXEL_MEAN": _each(_Rule(_is_number, "a number"), "for each channel"),
    "MODEL.PIXEL_STD": _Rule(
        lambda values: len(values) > 0 and all(_is_number(v) and v > 0 for v in values),
        "a number above 0 for each channel",
    ),
    "SOLVER.IMS_PER_BATCH": _whole_from(1, "a number of images"),
    "SOLVER.MAX_ITER": _whole_from(0, "a number of iterations"),
    "SOLVER.CHECKPOINT_PERIOD": _whole_from(1, "a number of iterations"),
    "SOLVER.BASE_LR": _number_from(0, "a rate"),
    "SOLVER.BASE_LR_END": _number_from(0, "a rate"),
    "SOLVER.LR_SCHEDULER_NAME": _one_of(_SCHEDULERS),
    "SOLVER.GAMMA": _number_from(0, "a factor"),
    "SOLVER.STEPS": _Rule(
        lambda steps: all(isinstance(step, Integral) for step in steps), "numbers of iterations"
    ),
    "SOLVER.WARMUP_METHOD": _one_of(_WARMUPS),
    "SOLVER.WARMUP_FACTOR": _number_between(0, 1, "a share of the rate"),
    "SOLVER.MOMENTUM": _number_between(0, 1),
    "SOLVER.WEIGHT_DECAY": _number_from(0),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": _one_of(("value", "norm")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _number_from(0),
    "TEST.EVAL_PERIOD": _whole_from(0, "a number of iterations"),
    "TEST.NUCLEUS_DIAMETER": _number_from(1, "a number of pixels"),
    # no outline is off by as many pixels
    "TEST.OUTLINE_OFFSET": _Rule(
        lambda offset: _is_number(offset) and (offset == 0 or 1 <= abs(offset) <= 1000),
        "a number of pixels: 0, or 1 to 1000 to either side, as less than 1 changes nothing",
    ),
    "TEST.OVERLAP_ELIMINATION.PRIORITY": _Rule(
        lambda name: name in _PRIORITIES, " or ".join(map(repr, _PRIORITIES))
    ),
    "TEST.OVERLAP_ELIMINATION.MIN_AREA": _AREA,
    "TEST.OVERLAP_ELIMINATION.MIN_AREA_LIMIT": _SHARE,
    "TEST.OVERLAP_ELIMINATION.MIN_RELATIVE_AREA": _SHARE,
    "TEST.OVERLAP_ELIMINATION.MIN_RELATIVE_SCORE": _SHARE,
    "TEST.OVERLAP_ELIMINATION.CLASS_SCORE_THRESHOLDS": _each(_PROBABILITY),
    "TEST.OVERLAP_ELIMINATION.CLASS_MIN_AREAS": _each(_AREA),
    "TEST.EVALUATORS": _NAMES,
    "OUTPUT_DIR": _Rule(
        lambda folder: isinstance(folder, str) and folder.strip() != "", "a folder (. for this one)"
    ),
}


def fixed_side(cfg: CfgNode) -> int:
    """The side in pixels at which the network sees every image; 0: not always the same."""
    is_resized = cfg.MODEL.META_ARCHITECTURE == "SemanticInstanceSegmentor"
    return cfg.MODEL.SEMANTIC.RESIZE if is_resized else 0


def check_config(cfg: CfgNode) -> None:
    """Check the values of a whole config.

    Raises:
        InputError: a value is not allowed; the message names the key, the value and what is
            expected.
    """
    for key in _RULES:
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        check_value(key, value)
    _check_crop(cfg.INPUT.CROP)
    _check_channels(cfg)
    side = fixed_side(cfg)
    if side and cfg.INPUT.RESIZE_RULE == "diameter":
        raise InputError(
            f"INPUT.RESIZE_RULE is 'diameter', but MODEL.SEMANTIC.RESIZE is {side}: every image is "
            "predicted at that size, however large its nuclei are; set it to 0, or the rule to "
            "'shortest_edge'"
        )
    cosine = cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupCosineLR"  # others do not use BASE_LR_END
    if cosine and cfg.SOLVER.BASE_LR == 0:
        raise InputError("SOLVER.BASE_LR is 0; expected a rate above 0 for WarmupCosineLR")
    if cosine and cfg.SOLVER.BASE_LR_END > cfg.SOLVER.BASE_LR:
        raise InputError(
            f"SOLVER.BASE_LR_END is {cfg.SOLVER.BASE_LR_END:g}; expected at most SOLVER.BASE_LR, "
            f"{cfg.SOLVER.BASE_LR:g}"
        )


def check_value(key: str, value: Any) -> None:
    """Check a value for a config key, wherever it comes from; keys without a rule accept any.

    Raises:
        InputError: the value is not allowed; the message names the key, the value and what is
            expected.
    """
    rule = _RULES.get(key)
    if rule is not None and not rule.holds(value):
        raise InputError(f"{key} is {value!r}; expected {rule.expected}")


def _check_channels(cfg: CfgNode) -> None:
    means, deviations = len(cfg.MODEL.PIXEL_MEAN), len(cfg.MODEL.PIXEL_STD)
    # the single channel of a grey image is broadcast to several means
    expected = means if cfg.INPUT.FORMAT == "L" else 3
    if means != expected or deviations != means or not means:
        raise InputError(
            f"MODEL.PIXEL_MEAN has {means} numbers and MODEL.PIXEL_STD {deviations}; expected one "
            f"for each channel, as INPUT.FORMAT is {cfg.INPUT.FORMAT!r}"
        )


def _check_crop(crop: CfgNode) -> None:
    if not crop.ENABLED:
        return
    relative = crop.TYPE.startswith("relative")
    most = 1 if relative else math.inf
    size = list(crop.SIZE)
    if len(size) != 2 or not all(
        _is_number(side) and 0 < side <= most and (relative or side >= 1) for side in size
    ):
        expected = "two shares of the image, above 0 to 1" if relative else "two numbers of pixels"
        raise InputError(
            f"INPUT.CROP.SIZE is {size}; expected {expected}, as INPUT.CROP.TYPE is {crop.TYPE!r}"
        )
