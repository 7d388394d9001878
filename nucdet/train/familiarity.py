"""Measures the statistics of training images by which a model recognises unfamiliar images."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.env import seed_all_rng

from nucdet.data.datasets import check_datasets
from nucdet.data.io.planes import open_windows
from nucdet.data.io.windows import Box, ImageWindows
from nucdet.errors import InputError
from nucdet.modeling.familiarity import Familiarity, Seen
from nucdet.predict.finding import Finder
from nucdet.predict.network import Network
from nucdet.processes import find_device
from nucdet.progress import ProgressBar
from nucdet.train.trainer import NucleusTrainer

# number of training crops whose features are measured
CROPS = 800
# share of the familiar images for which a warning is accepted
WARNED = 0.03
# sides of the small views that get their own limits, in pixels of the network's input
_SMALL_SIDES = (64.0, 128.0, 256.0)


def measure_familiarity(cfg: CfgNode, checkpoint: Path, dataset: str) -> Familiarity:
    """Measure the features of training images, and choose limits on other images like them.

    The training images are cropped and augmented as in training. The limits, for whole images and
    for small parts, are chosen so that a share of :data:`WARNED` of a data set's images get a
    warning.

    Args:
        cfg: of the model.
        checkpoint: its weights.
        dataset: name in the catalog of images that were not used in training but are like those.

    Raises:
        FileNotFoundError, InputError: a data set is missing or has too few images, the checkpoint
            cannot be read, or the model has no timm encoder.
    """
    check_datasets([*cfg.DATASETS.TRAIN, dataset])
    images = len(DatasetCatalog.get(dataset))
    if images * WARNED < 1:
        raise InputError(
            f"data set {dataset}: has {images} images; expected at least "
            f"{math.ceil(1 / WARNED)} to choose a limit"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(checkpoint)
    cfg.MODEL.DEVICE = find_device(cfg.MODEL.DEVICE)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 1
    network = Network.load(cfg)
    known = Familiarity.of_features(_training_features(cfg, network))
    return _with_limits(known, cfg, network, dataset)


def _training_features(cfg: CfgNode, network: Network) -> torch.Tensor:
    """(CROPS, D): the features of random augmented crops."""
    seed_all_rng(max(0, cfg.SEED))
    loader = iter(NucleusTrainer.build_train_loader(cfg))
    features = []
    for _ in ProgressBar(range(CROPS), "training crops", unit="crop"):
        with torch.no_grad():
            network.bare_model([{"image": x["image"]} for x in next(loader)])
        seen = network.tap.take()
        if not seen:
            raise InputError(
                f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}: has no encoder of timm, "
                "whose features are remembered; leave --familiarity out"
            )
        features += [one.features for one in seen]
    return torch.stack(features)


def _with_limits(known: Familiarity, cfg: CfgNode, network: Network, dataset: str) -> Familiarity:
    """``known`` with limits chosen on a data set's whole images and small parts of them."""
    judged = _judged(cfg, network, dataset)
    certain = [float(scores.mean()) for _, scores in judged[None] if len(scores)]
    known = replace(known, usual_doubt=1 - float(np.median(certain)) if certain else 1.0)
    whole = float(np.median([seen[0].side for seen, _ in judged[None]]))
    limits = {whole: _limit(known, judged.pop(None))}
    for side, parts in judged.items():
        if side < whole:
            limits[side] = max(_limit(known, parts), limits[whole])
    sides = sorted(limits)
    return replace(
        known, sides=torch.tensor(sides), limits=torch.tensor([limits[side] for side in sides])
    )


def _judged(
    cfg: CfgNode, network: Network, dataset: str
) -> dict[float | None, list[tuple[list[Seen], torch.Tensor]]]:
    """Features and scores of whole images (key None) and of central squares (key: their side)."""
    finder = Finder(cfg, network)
    judged = defaultdict(list)
    for record in ProgressBar(DatasetCatalog.get(dataset), dataset):
        source = open_windows(record["file_name"], None, cfg.INPUT.NORMALIZE)
        (found,) = finder([source])
        judged[None].append((found.seen, found.instances.scores))
        for side in _SMALL_SIDES:
            box = _middle(source, math.ceil(side / found.plan.zoom))
            if box is not None:
                (output,) = network([(source.read(box), found.plan.zoom)])
                judged[side].append(([output.seen], output.instances.scores))
    return judged


def _limit(known: Familiarity, views: list[tuple[list[Seen], torch.Tensor]]) -> float:
    """The limit that at most a share of WARNED of the values exceeds, midway between two values."""
    values = sorted(known.strangeness(seen, scores) for seen, scores in views)
    last = len(values) - 1 - int(WARNED * len(values))  # the largest without a warning
    return float(np.mean(values[last : last + 2]))


def _middle(source: ImageWindows, side: int) -> Box | None:
    """The square of this side in the middle of an image; None if it does not fit."""
    if min(source.size) < side:
        return None
    starts = [(length - side) // 2 for length in source.size]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
