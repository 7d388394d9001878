"""The optimizer and the steps of the learning rate schedule of a config (SOLVER.*)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from nucdet.errors import InputError

OPTIMIZERS = {"SGD": torch.optim.SGD, "ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER with Detectron2's rules for weight decay and gradient clipping.

    Raises:
        InputError: there is no such optimizer, the model has nothing to train, or SOLVER.LR_FACTORS
            are not pairs of a name and a number.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        why = "the config freezes every part that it has"
        if cfg.MODEL.SEGMENTATION.NETWORK == "none":
            why = "MODEL.SEGMENTATION.NETWORK is 'none'"
        raise InputError(
            f"{cfg.MODEL.META_ARCHITECTURE}: there is nothing to train ({why}); --eval-only "
            "evaluates it as it is"
        )
    name = cfg.SOLVER.OPTIMIZER
    if name not in OPTIMIZERS:
        raise InputError(f"SOLVER.OPTIMIZER is {name!r}, expected one of {[*OPTIMIZERS]}")
    parameters = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        lr_factor_func=_rate_factors(cfg),
    )
    optimizer = maybe_add_gradient_clipping(cfg, OPTIMIZERS[name])
    momentum = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}
    # A fused step makes one pass over all weights. It is not used with a GPU, where under AMP it
    # would unscale after the clipping, and not for SGD with stages: it fails when a later stage
    # unfreezes weights that have no momentum yet.
    on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
    fused = on_cpu and not (name == "SGD" and cfg.SOLVER.STAGES)
    return optimizer(
        parameters,
        lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        fused=fused,
        **(momentum if name == "SGD" else {}),
    )


def with_equal_steps(cfg: CfgNode) -> CfgNode:
    """Replace WarmupStepWithFixedGammaLR by WarmupMultiStepLR with equal steps.

    Detectron2's WarmupStepWithFixedGammaLR fails in the step after the last iteration. Its
    WarmupMultiStepLR fails if a step is MAX_ITER; such a step has no effect and is removed. Other
    schedules are not changed.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "WarmupStepWithFixedGammaLR":
        rates = solver.NUM_DECAYS + 1
        # fewer steps if there are too few iterations
        steps = sorted({solver.MAX_ITER * i // rates for i in range(1, rates)} - {0})
    elif solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step != solver.MAX_ITER]
    else:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
    cfg.SOLVER.STEPS = steps
    return cfg


def _rate_factors(cfg: CfgNode) -> Callable[[str], float]:
    """SOLVER.LR_FACTORS as a function of a parameter's name."""
    try:
        factors = [(str(start), float(factor)) for start, factor in cfg.SOLVER.LR_FACTORS]
    except (TypeError, ValueError):
        raise InputError(
            f"SOLVER.LR_FACTORS is {cfg.SOLVER.LR_FACTORS}, expected [[start of parameter names, "
            "factor], …]"
        ) from None
    return lambda name: next((f for start, f in factors if name.startswith(start)), 1.0)
