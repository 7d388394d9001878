"""The training losses on held-out images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from nucdet.progress import ProgressBar


def validation_losses(model: nn.Module, loader: Iterable[list[dict[str, Any]]]) -> dict[str, float]:
    """Mean of every training loss over the images of ``loader``, and their sum.

    Weights, batch norm statistics, random state and log do not change. Models that draw samples
    (anchors, proposals) draw the same ones each time.

    Args:
        model: returns a dict of losses in training mode.
        loader: batches of inputs with ground truth.

    Returns:
        ``{"total_loss": …, <loss>: …}``, the same in every process; {} without an image.
    """
    was_training = model.training
    model.train()
    for module in model.modules():  # held-out images must not change the statistics
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    shown = comm.is_main_process()
    sums: dict[str, float] = defaultdict(float)
    count = 0
    # a temporary storage takes what models log in training mode
    with torch.no_grad(), torch.random.fork_rng(), EventStorage():
        torch.manual_seed(0)
        for batch in ProgressBar(loader, "validation losses", unit="batch", show=shown):
            for name, value in model(batch).items():
                sums[name] += float(value) * len(batch)
            count += len(batch)
    model.train(was_training)

    parts = comm.all_gather((dict(sums), count))
    total = sum(n for _, n in parts)
    if total == 0:
        return {}
    names = sorted({name for part, _ in parts for name in part})
    means = {name: sum(part.get(name, 0.0) for part, _ in parts) / total for name in names}
    return {"total_loss": sum(means.values()), **means}
