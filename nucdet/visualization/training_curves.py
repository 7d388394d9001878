"""Plots losses and validation scores of trainings from the csv logs in their folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.data import MetadataCatalog
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nucdet.config_files import read_config_file
from nucdet.data.datasets import register_datasets
from nucdet.errors import InputError
from nucdet.files import read_json, write_atomically

_TOTAL = "total_loss"
_COLORS = [f"C{i}" for i in range(10)]
_MOST_MARKS = 40  # if there are more epochs, only every 2nd, 5th, 10th, … is marked


@dataclass
class TrainingLog:
    """The logs of one training in its OUTPUT_DIR.

    Attributes:
        name: the folder's name.
        losses: one row per iteration, with columns ``iteration``, ``total_loss`` and its parts.
        evaluations: one row per evaluation, with columns ``iteration`` and one per metric; may be
            empty.
        metric: TEST.BEST_METRIC, or else the first metric there is; None without evaluations.
        epoch: the number of iterations in an epoch, in which each image is seen once on average;
            None if unknown.
    """

    name: str
    losses: pd.DataFrame
    evaluations: pd.DataFrame
    metric: str | None
    epoch: float | None


def plot_training(
    folders: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str] | None = None
) -> Path:
    """Plot the losses of one run, or the total losses of several, and below the validation scores.

    Args:
        folders: OUTPUT_DIRs with ``losses.csv``; epochs are marked if there is a ``config.yaml``
            and its data sets exist on this machine.
        output: path of the image; None: ``training.png`` in the first folder.

    Returns:
        The path of the image.

    Raises:
        FileNotFoundError: a folder has no losses.csv.
        InputError: a log cannot be read.
    """
    path = Path(output) if output else Path(folders[0]) / "training.png"
    endings = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in endings:
        raise InputError(
            f"--output {path}: found the ending {path.suffix!r}; expected one of "
            f"{', '.join(sorted(endings))}, such as training.png"
        )
    register_datasets()
    runs = [read_log(Path(folder)) for folder in folders]
    with write_atomically(path) as temporary:
        draw_logs(runs).savefig(temporary, dpi=110)
    return path


def read_log(folder: Path) -> TrainingLog:
    """Read the logs of one training.

    Raises:
        FileNotFoundError: there is no losses.csv.
        InputError: a csv was not written by nucdet, or has no rows.
    """
    if not (folder / "losses.csv").is_file():
        raise FileNotFoundError(
            f"{folder / 'losses.csv'}: not found; expected the OUTPUT_DIR of a training"
        )
    losses = _read_csv(folder / "losses.csv", _TOTAL)
    evaluations = pd.DataFrame({"iteration": []})
    if (folder / "evaluation.csv").is_file():
        evaluations = _read_csv(folder / "evaluation.csv")
    config: dict[str, Any] = {}
    if (folder / "config.yaml").is_file():
        config = read_config_file(folder / "config.yaml")
    metrics = [name for name in evaluations.columns if name != "iteration"]
    metric = config.get("TEST", {}).get("BEST_METRIC")
    if metric not in metrics:
        metric = metrics[0] if metrics else None
    return TrainingLog(folder.resolve().name, losses, evaluations, metric, _epoch_length(config))


def _read_csv(path: Path, column: str = "iteration") -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a csv of a training ({error})") from error
    for name in table.columns:
        if table[name].dtype.kind not in "biuf":
            table[name] = _numbers(path, table[name])
    if not {"iteration", column} <= set(table.columns) or table.empty:
        raise InputError(
            f"{path}: found {len(table)} rows with columns {', '.join(map(str, table.columns))}; "
            f"expected iteration, {column}, … and a row for each"
        )
    return table


def _numbers(path: Path, column: pd.Series) -> pd.Series:
    """A column as numbers; raises InputError if it contains text."""
    numbers = pd.to_numeric(column, errors="coerce")
    text = column[numbers.isna() & column.notna()]
    if len(text):
        raise InputError(
            f"{path}: {column.name} is {str(text.iloc[0])[:40]!r} in row {text.index[0] + 2}; "
            "expected numbers, as a training writes them; take the row out"
        )
    return numbers


def _epoch_length(config: dict[str, Any]) -> float | None:
    """The number of training images divided by the number of images per iteration."""
    images = 0
    for name in config.get("DATASETS", {}).get("TRAIN", ()):
        json_file = MetadataCatalog.get(name).get("json_file")
        if json_file is None or not Path(json_file).is_file():
            return None
        content = read_json(Path(json_file))
        if config["DATALOADER"]["FILTER_EMPTY_ANNOTATIONS"]:
            annotations = content["annotations"]
            images += len({a["image_id"] for a in annotations if not a.get("iscrowd")})
        else:
            images += len(content["images"])
    return images / config["SOLVER"]["IMS_PER_BATCH"] if images else None


def draw_logs(runs: Sequence[TrainingLog]) -> Figure:
    """Losses above (each part for one run, totals for several), validation score below."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for index, run in enumerate(runs):
        _draw_losses(above, run, index, alone=len(runs) == 1)
        _draw_score(below, run, _COLORS[index % len(_COLORS)])
    what = "loss" if len(runs) == 1 else "total loss"
    above.set(ylabel=f"{what} (faint: each iteration)", ylim=(0, None))
    above.legend(loc="upper right", ncols=2)
    below.set(xlabel="iteration", ylabel="validation")
    if below.get_legend_handles_labels()[0]:
        below.legend()
    else:
        below.text(0.5, 0.5, "no evaluation", transform=below.transAxes, ha="center")
    return figure


def _draw_losses(axes: Axes, run: TrainingLog, index: int, alone: bool) -> None:
    parts = [name for name in run.losses.columns if "loss" in name and name != _TOTAL]
    iteration = run.losses["iteration"]
    for k, name in enumerate([_TOTAL, *(parts if alone else ())]):
        color = _COLORS[(index + k) % len(_COLORS)]
        label = name if alone else run.name
        axes.plot(iteration, run.losses[name], color=color, alpha=0.15, linewidth=0.7)
        axes.plot(iteration, smoothed(run.losses[name]), color=color, label=label)
    validation = f"validation/{_TOTAL}"
    color = _COLORS[index % len(_COLORS)]
    if validation in run.evaluations:
        values = run.evaluations[validation]
        label = validation if alone else f"{run.name}, validation"
        axes.plot(run.evaluations["iteration"], values, "o--", color=color, label=label)
    _mark_epochs(axes, run, color)
    if run.epoch:
        whose = "" if alone else f"{run.name}: "
        axes.plot(
            [], [], color=color, alpha=0.4, label=f"{whose}epoch of {run.epoch:.4g} iterations"
        )


def _draw_score(axes: Axes, run: TrainingLog, color: str) -> None:
    if run.metric is None:
        return
    scores = run.evaluations[run.metric]
    best = f", best {scores.max():.2f}" if scores.notna().any() else ""
    label = f"{run.name}: {run.metric}{best}"
    axes.plot(run.evaluations["iteration"], scores, "o-", color=color, label=label)
    _mark_epochs(axes, run, color)


def _mark_epochs(axes: Axes, run: TrainingLog, color: str) -> None:
    for end in epoch_ends(run):
        axes.axvline(end, color=color, alpha=0.25, linewidth=0.7, zorder=0)


def smoothed(values: pd.Series) -> pd.Series:
    """Moving average, centered, over a fiftieth of the run but at least 11 iterations."""
    return values.rolling(max(11, len(values) // 50), center=True, min_periods=1).mean()


def epoch_ends(run: TrainingLog) -> list[float]:
    """The iterations at which epochs end, thinned out if there are many; empty if unknown."""
    if run.epoch is None:
        return []
    count = int((run.losses["iteration"].max() + 1) / run.epoch)
    step = 1
    while count // step > _MOST_MARKS:
        step = {1: 2, 2: 5, 5: 10}[step] if step < 10 else 2 * step
    return [run.epoch * number for number in range(step, count + 1, step)]
