"""The figure of benchmarks/published_systems.py: the score during each training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from published_tables import METRIC

from nucdet.visualization.training_curves import read_log

# line styles of a row's first, second, … training
_DASHES = ("-", "--", ":")


def draw_curves(trainings: Iterable[tuple[str, list[Path]]], levels: dict[str, float]) -> Figure:
    """Plot the scores against the epochs, with one color per row and one line per training.

    Args:
        trainings: for each row its name and the folders of its trainings. Trainings without
            evaluations are left out, as are those with an unknown epoch length, because their data
            sets do not exist on this machine.
        levels: the scores of rows without training, by name, drawn as horizontal lines.
    """
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    colors = matplotlib.colormaps["tab20"].colors
    for index, (name, folders) in enumerate(trainings):
        for dashes, folder in zip(_DASHES, folders, strict=False):
            log = read_log(folder)
            if log.epoch is None or METRIC not in log.evaluations:
                continue
            # iterations count from 0, but the last evaluation has the total number of iterations
            seen = (log.evaluations["iteration"] + 1).clip(upper=log.losses["iteration"].max() + 1)
            label = name if folder == folders[0] else f"{name}, another seed"
            color = colors[index % len(colors)]
            scores = log.evaluations[METRIC]
            axes.plot(seen / log.epoch, scores, dashes, color=color, marker=".", label=label)
    for name, score in levels.items():
        axes.axhline(score, color="black", linewidth=0.8, linestyle=":")
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        axes.annotate(name, (1.0, score), **place)
    axes.set(xlabel="epochs (images seen, by images there are)", ylabel=METRIC, ylim=(0, None))
    # log scale, because trainings have from 11 to 80 epochs
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", fontsize="small")
    return figure
