"""How often an image is drawn in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import RepeatFactorTrainingSampler

from nucdet.data.augment.geometry import evaluation_resize
from nucdet.errors import InputError


def build_sampler(
    cfg: CfgNode, records: Sequence[dict[str, Any]]
) -> RepeatFactorTrainingSampler | None:
    """The sampler of DATALOADER.BALANCE_KINDS and BALANCE_CROPS; None if both are 0.

    Raises:
        InputError: DATALOADER.SAMPLER_TRAIN asks for another sampler at the same time.
    """
    kinds, crops = cfg.DATALOADER.BALANCE_KINDS, cfg.DATALOADER.BALANCE_CROPS
    if not kinds and not crops:
        return None
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise InputError(
            f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}, but BALANCE_KINDS and "
            "BALANCE_CROPS use their own sampler; set it to 'TrainingSampler' or them to 0"
        )
    weights = kind_weights(records, kinds) * crop_weights(cfg, records, crops)
    return RepeatFactorTrainingSampler(weights / weights.mean())


def kind_weights(records: Sequence[dict[str, Any]], power: float) -> torch.Tensor:
    """(N,) 1 / (images of the same kind) ** power: at 1 each kind is drawn equally often."""
    kinds = [record.get("kind", "") for record in records]
    counts = Counter(kinds)
    return torch.tensor([float(counts[kind]) for kind in kinds]) ** -power


def crop_weights(cfg: CfgNode, records: Sequence[dict[str, Any]], power: float) -> torch.Tensor:
    """(N,) (crops that the image fills) ** power: at 1 each pixel is drawn equally often.

    The size of an image is that after evaluation's resize. INPUT.RESIZE_RULE "diameter" is treated
    like "enlarge", since the diameter of the nuclei, which determines the size in training, is not
    known here.
    """
    zoom = evaluation_resize(cfg)
    crop = 1.0
    if cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.TYPE != "relative":
        crop = float(cfg.INPUT.CROP.SIZE[0] * cfg.INPUT.CROP.SIZE[1])
    sizes = [(record["height"], record["width"]) for record in records]
    crops = torch.tensor(
        [height * width * zoom(height, width) ** 2 / crop for height, width in sizes]
    )
    return crops.clamp(min=1.0) ** power
