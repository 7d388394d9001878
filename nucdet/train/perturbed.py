"""Evaluates a model on perturbed images and compares the scores with those on clean ones."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.config import CfgNode
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from torch import nn

from nucdet.data.augment.perturbations import parse_perturbation
from nucdet.errors import InputError
from nucdet.evaluation.report import new_table, render
from nucdet.files import write_atomically
from nucdet.train.trainer import NucleusTrainer

logger = logging.getLogger(__name__)

# metrics left out of the printed table: of the IoU thresholds it shows only 0.50 and 0.75
_FINER = re.compile(r"(AP|precision-|recall-|F1-)(?!50|75)\d\d$")


def seed_perturbation(text: str) -> str:
    """Convert ``MEAN,POWER``, given as shares ("0.05,0.1") or percentages ("5%,10%"), to the name
    of a perturbation.

    Raises:
        InputError: not two numbers, or out of range.
    """
    try:
        shares = [
            float(number.rstrip("% ")) / (100 if "%" in number else 1) for number in text.split(",")
        ]
        name = "seed:" + ",".join(f"{share:g}" for share in shares)
        parse_perturbation(name)
    except ValueError:
        raise InputError(
            f"--perturb {text}: expected MEAN,POWER as shares from 0 to 1, e.g. 0.05,0.1 or 5%,10%"
        ) from None
    return name


def evaluate_perturbed(
    cfg: CfgNode,
    model: nn.Module,
    perturbation: str,
    trainer: type[NucleusTrainer] = NucleusTrainer,
) -> dict[str, Any]:
    """Evaluate as ``--eval-only`` does, on perturbed images.

    Args:
        cfg: of the model; it is not changed.
        model: with its weights.
        perturbation: a name for :func:`parse_perturbation`; "": none.
        trainer: whose ``test`` evaluates.

    Returns:
        The evaluators' results; {} except in the main process. Their files go to a folder of
        OUTPUT_DIR named after the perturbation.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.PERTURBATION = perturbation
    cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / file_stem(perturbation))
    return trainer.test(cfg, model)


def file_stem(perturbation: str) -> str:
    """The name of a perturbation in file names, e.g. seed_0.05_0.1; "clean" for none."""
    return perturbation.replace(":", "_").replace(",", "_") or "clean"


def compare_perturbed(
    cfg: CfgNode,
    model: nn.Module,
    clean: dict[str, Any],
    perturbation: str,
    trainer: type[NucleusTrainer] = NucleusTrainer,
) -> pd.DataFrame | None:
    """Evaluate on perturbed images and compare the scores with the clean ones.

    The log gets a table, and OUTPUT_DIR/<perturbation>.csv one with every metric.

    Args:
        cfg, model, perturbation, trainer: see :func:`evaluate_perturbed`.
        clean: the results without perturbation.

    Returns:
        Columns metric, clean, perturbed, difference; None except in the main process.
    """
    perturbed = evaluate_perturbed(cfg, model, perturbation, trainer)
    if not comm.is_main_process():
        return None
    before, after = flatten_results_dict(clean), flatten_results_dict(perturbed)
    rows = [(name, before.get(name), value) for name, value in after.items()]
    table = pd.DataFrame(rows, columns=["metric", "clean", "perturbed"]).astype(
        {"clean": float, "perturbed": float}
    )
    table["difference"] = table["perturbed"] - table["clean"]
    path = Path(cfg.OUTPUT_DIR) / f"{file_stem(perturbation)}.csv"
    with write_atomically(path) as temporary:
        table.to_csv(temporary, index=False)
    logger.info("Perturbed by %s (%s):\n%s", perturbation, path, _render(table, perturbation))
    return table


def _render(table: pd.DataFrame, perturbation: str) -> str:
    title = f"Clean images beside {perturbation}"
    shown = new_table(title, "metric", "clean", "perturbed", "difference")
    for row in table.dropna().itertuples():
        if not _FINER.search(row.metric):
            numbers = (f"{row.clean:.4g}", f"{row.perturbed:.4g}", f"{row.difference:+.4g}")
            shown.add_row(row.metric, *numbers)
    return render([shown])
