"""Evaluates a model on perturbed images, beside the scores on clean ones."""

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

# metrics that the printed table leaves out: of the IoU thresholds it shows 0.50 and 0.75 alone
_FINER = re.compile(r"(AP|precision-|recall-|F1-)(?!50|75)\d\d$")


def seed_perturbation(text: str) -> str:
    """``MEAN,POWER``, shares ("0.05,0.1") or percents ("5%,10%"), as a name of a perturbation.

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


def evaluate_perturbed(cfg: CfgNode, model: nn.Module, perturbation: str) -> dict[str, Any]:
    """Evaluate as ``--eval-only`` does, on perturbed images.

    Args:
        cfg: of the model; it stays as it is.
        model: with its weights.
        perturbation: a name for :func:`parse_perturbation`; "": none.

    Returns:
        The evaluators' results; {} on other processes than the main one. Their files go to a folder
        of OUTPUT_DIR named after the perturbation.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.PERTURBATION = perturbation
    cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / file_stem(perturbation))
    return NucleusTrainer.test(cfg, model)


def file_stem(perturbation: str) -> str:
    """A perturbation's name for files: seed_0.05_0.1; "clean" for none."""
    return perturbation.replace(":", "_").replace(",", "_") or "clean"


def compare_perturbed(
    cfg: CfgNode, model: nn.Module, clean: dict[str, Any], perturbation: str
) -> pd.DataFrame | None:
    """Evaluate on perturbed images and put the scores beside the clean ones.

    The table goes to the log, and with every metric to OUTPUT_DIR/<perturbation>.csv.

    Args:
        cfg, model, perturbation: see :func:`evaluate_perturbed`.
        clean: the results without perturbation.

    Returns:
        Columns metric, clean, perturbed, difference; None on other processes than the main one.
    """
    perturbed = evaluate_perturbed(cfg, model, perturbation)
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
