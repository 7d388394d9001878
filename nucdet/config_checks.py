"""What the values of a config must be, whatever is done with it: one table, checked when it loads.

Names of networks are checked where networks are known: nucdet/modeling/architecture_checks.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode

from nucdet.errors import InputError

# of detectron2.solver.build_lr_scheduler
_SCHEDULERS = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")


@dataclass(frozen=True)
class _Rule:
    holds: Callable[[Any], bool]
    expected: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number_from(least: float, unit: str = "a number") -> _Rule:
    return _Rule(lambda value: _is_number(value) and value >= least, f"{unit} of at least {least}")


def _whole_from(least: int, unit: str = "a whole number") -> _Rule:
    return _Rule(
        lambda value: isinstance(value, int) and value >= least, f"{unit}, {least} or more"
    )


_RULES = {
    "SOLVER.IMS_PER_BATCH": _whole_from(1, "a number of images"),
    "SOLVER.MAX_ITER": _whole_from(0, "a number of iterations"),
    "SOLVER.CHECKPOINT_PERIOD": _whole_from(1, "a number of iterations"),
    "SOLVER.BASE_LR": _number_from(0, "a rate"),
    "SOLVER.LR_SCHEDULER_NAME": _Rule(
        lambda name: name in _SCHEDULERS, f"one of {', '.join(_SCHEDULERS)}"
    ),
    "DATALOADER.NUM_WORKERS": _whole_from(0, "a number of processes"),
    "DATALOADER.CACHE_MIB": _number_from(0, "a number of MiB"),
    "TEST.EVAL_PERIOD": _whole_from(0, "a number of iterations"),
    "TEST.NUCLEUS_DIAMETER": _number_from(1, "a number of pixels"),
    "INPUT.MIN_SIZE_TEST": _whole_from(0, "a number of pixels (0: no resize)"),
    "INPUT.MAX_SIZE_TEST": _whole_from(1, "a number of pixels"),
    "MODEL.ROI_HEADS.NUM_CLASSES": _whole_from(1, "a number of classes"),
    "MODEL.PIXEL_STD": _Rule(
        lambda values: len(values) > 0 and all(_is_number(v) and v > 0 for v in values),
        "a number above 0 for each channel",
    ),
}


def check_config(cfg: CfgNode) -> None:
    """Check the values that any tool depends on.

    Raises:
        InputError: one of them cannot be; the message names key, value and what is expected.
    """
    for key, rule in _RULES.items():
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        if not rule.holds(value):
            raise InputError(f"{key} is {value!r}; expected {rule.expected}")
    _check_crop(cfg.INPUT.CROP)


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
