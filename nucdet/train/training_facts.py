"""What is known of a training from its folder: command, data, duration, hardware and scores."""

from __future__ import annotations

import ast
import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from nucdet.data.datasets import chosen_planes
from nucdet.version import __version__

# columns of evaluation.csv that are copied to the manifest
_SCORES = ("kaggle/mAP", "kaggle/AP50", "kaggle/AP75", "segm/AP", "segm/AP50")


@dataclass(frozen=True)
class UserFacts:
    """Facts for the manifest that are missing or wrong in the training's folder."""

    command: str | None = None
    hours: float | None = None
    hardware: str | None = None
    seed: int | None = None
    note: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def training_facts(
    cfg: CfgNode, folder: Path, iteration: int | None, user_facts: UserFacts, is_mean: bool
) -> dict[str, Any]:
    """What the manifest of a model says of its training.

    Args:
        cfg: of the training.
        folder: its OUTPUT_DIR.
        iteration: of the checkpoint, None if unknown.
        user_facts: facts that replace those found in the folder.
        is_mean: whether the model is the mean of several checkpoints.
    """
    log = folder / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    iterations = cfg.SOLVER.MAX_ITER
    if iteration is not None:
        iterations = min(iteration + 1, iterations)
    # the training never evaluated a mean
    scores = {} if is_mean else scores_of_checkpoint(cfg, folder, iteration)
    return {
        "trained_on": [_data_set(name) for name in cfg.DATASETS.TRAIN],
        "initial_weights": cfg.MODEL.WEIGHTS,
        "command": user_facts.command or last_command(text),
        "seed": user_facts.seed if user_facts.seed is not None or cfg.SEED < 0 else cfg.SEED,
        "iterations": iterations,
        "hours": _hours(folder, iterations) if user_facts.hours is None else user_facts.hours,
        "hardware": user_facts.hardware or _hardware(text),
        "scores": {**scores, **user_facts.scores},
        "note": user_facts.note or "",
        "nucdet": __version__,
    }


def _data_set(name: str) -> dict[str, Any]:
    content = Path(MetadataCatalog.get(name).json_file).read_bytes()
    planes = chosen_planes(name)  # prediction needs the same options
    facts = {"name": name, "json_sha256": hashlib.sha256(content).hexdigest()}
    return {**facts, **({"planes": planes} if planes else {})}


def last_command(log: str) -> str | None:
    """The command of the last training in a log that started anew, without its OUTPUT_DIR."""
    command = None
    for line in re.findall(r"Command line arguments: (Namespace\(.*\))$", log, re.MULTILINE):
        call = ast.parse(line, mode="eval").body
        stated = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if stated["eval_only"] or (command and stated["resume"]):
            continue
        pairs = zip(stated["opts"][::2], stated["opts"][1::2], strict=True)
        options = [text for pair in pairs if pair[0] != "OUTPUT_DIR" for text in pair]
        command = shlex.join(["nucdet-train", "--config-file", stated["config_file"], *options])
    return command


def _hours(folder: Path, iterations: int) -> float | None:
    """The hours spent on iterations, without evaluations."""
    path = folder / "losses.csv"
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    if "time" not in table:
        return None
    seconds = table.loc[table["iteration"] < iterations, "time"]
    # the first iterations are not timed, and there may be no others
    return round(float(seconds.mean() * len(seconds) / 3600), 2) if seconds.any() else None


def _hardware(log: str) -> str | None:
    if not log:
        return None
    gpu = re.search(r"^GPU [\d,]+ +(.*)$", log, re.MULTILINE)
    return gpu.group(1).strip() if gpu else "CPU"


def scores_of_checkpoint(cfg: CfgNode, folder: Path, iteration: int | None) -> dict[str, float]:
    """The scores of the checkpoint's own evaluation, by data set and metric; {} without one.

    Evaluations and checkpoints have the number of the iteration that they follow. Only the
    evaluation after the last iteration, MAX_ITER - 1, has the number MAX_ITER.
    """
    path = folder / "evaluation.csv"
    if not path.is_file():
        return {}
    table = pd.read_csv(path)
    number = cfg.SOLVER.MAX_ITER if iteration == cfg.SOLVER.MAX_ITER - 1 else iteration
    own = table[table["iteration"].isin([iteration, number])]
    if own.empty:
        when = "whose iteration is not known" if iteration is None else f"of iteration {iteration}"
        print(
            f"{path}: has no evaluation of the checkpoint, {when}, so the manifest gets no scores "
            "of the training; give them by --score"
        )
        return {}
    row = own.iloc[-1]
    result = {}
    for column in table.columns:
        if column.endswith(_SCORES) and pd.notna(row[column]):
            # with several data sets the columns contain their names already
            prefix = f"{cfg.DATASETS.TEST[0]}/" if len(cfg.DATASETS.TEST) == 1 else ""
            result[prefix + column] = round(float(row[column]), 3)
    return result
