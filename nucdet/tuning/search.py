"""Search over config keys by short trainings: what tools/search.py runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from detectron2.config import CfgNode
from rich.console import Console
from rich.table import Table

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.files import write_atomically
from nucdet.tuning.search_plot import plot_search
from nucdet.tuning.search_space import (
    Setting,
    grid_settings,
    log_uniform_keys,
    random_settings,
)
from nucdet.tuning.trial_tables import exit_code, mean_and_sd, with_sd, write_trials
from nucdet.tuning.trials import DONE, Outcome, Trial, flat_config, plan_trials, run_trials

TABLE, PICTURE, BEST = "search.csv", "search.png", "best.yaml"
_SEED = "SEED"


def search(
    config_file: str,
    output_dir: str | None = None,
    overrides: Sequence[str] = (),
    *,
    grids: Sequence[str] = (),
    variants: Sequence[str] = (),
    draws: Sequence[str] = (),
    trials: int | None = None,
    draw_seed: int = 0,
    seeds: Sequence[int] = (),
    metric: str | None = None,
    retry_failed: bool = False,
) -> int:
    """Train every setting, and after each training write search.csv, search.png and best.yaml.

    Args:
        config_file: yaml that all start from.
        output_dir: default: OUTPUT_DIR of the config with ``_search`` appended.
        overrides: KEY VALUE pairs for all trainings.
        grids, variants: see :func:`nucdet.tuning.search_space.grid_settings`.
        draws, trials, draw_seed: see :func:`nucdet.tuning.search_space.random_settings`; instead of
            grids and variants.
        seeds: train each setting once with each of these; none: once with SEED of the config.
        metric: ``"task/metric"`` of the last evaluation that ranks them, higher is better; default:
            TEST.BEST_METRIC.
        retry_failed: train again what failed before.

    Returns:
        1 if a training failed, else 0.

    Raises:
        InputError, OSError: found in any of the configs, before the first training starts.
    """
    cfg = load_config(config_file, overrides)
    metric = metric or cfg.TEST.BEST_METRIC
    output = Path(output_dir or f"{cfg.OUTPUT_DIR}_search")
    settings = _settings(grids, variants, draws, trials, draw_seed, flat_config(cfg))
    axes = list(settings[0].labels)
    taken = {"OUTPUT_DIR", *([_SEED] if seeds else [])} & set(axes)
    if taken:
        raise InputError(f"{taken.pop()} cannot be varied here; use --output-dir and --seeds")
    planned = plan_trials(config_file, _with_seeds(settings, overrides, seeds), output)
    left_out = len(settings) * max(1, len(seeds)) - len(planned)
    if left_out:
        print(f"{left_out} settings left out: their configs equal others'")

    logarithmic = log_uniform_keys(draws)
    for outcomes in run_trials(planned, config_file, output, metric, None, retry_failed):
        write_trials(output / TABLE, planned, outcomes, metric)
        table = _by_setting(planned, outcomes, axes, metric)
        if table["mean"].notna().any():
            with write_atomically(output / PICTURE) as temporary:
                figure = plot_search(table, axes, metric, logarithmic, joined=not draws)
                figure.savefig(temporary, dpi=120)
        _write_best(output / BEST, table, planned, config_file, metric)
    _print_ranking(table, axes, metric, output)
    return exit_code(outcomes, output / TABLE)


def _settings(
    grids: Sequence[str],
    variants: Sequence[str],
    draws: Sequence[str],
    trials: int | None,
    seed: int,
    current: Mapping[str, Any],
) -> list[Setting]:
    if bool(draws) == bool(grids or variants):
        raise InputError("expected either --grid and --variant, or --random; see --help")
    if bool(draws) != (trials is not None):
        raise InputError("--trials N belongs to --random, and --random needs it")
    if not draws:
        return grid_settings(grids, variants)
    if trials < 1:
        raise InputError(f"--trials {trials}: expected 1 or more")
    return random_settings(draws, trials, seed, current)


def _with_seeds(
    settings: Sequence[Setting], overrides: Sequence[str], seeds: Sequence[int]
) -> list[tuple[dict[str, Any], list[str]]]:
    # seed by seed, so that a search that is stopped half-way has seen every setting
    return [
        (
            {**setting.labels, **({_SEED: seed} if seeds else {})},
            [*overrides, *setting.overrides, *([_SEED, str(seed)] if seeds else [])],
        )
        for seed in (seeds or [None])
        for setting in settings
    ]


def _by_setting(
    trials: Sequence[Trial], outcomes: Sequence[Outcome | None], axes: Sequence[str], metric: str
) -> pd.DataFrame:
    """One row a setting, best first: its axes, mean and sd over seeds, done, planned, first trial.

    Settings of which a seed failed or has not run yet come behind the others.
    """
    members: dict[str, list[int]] = {}
    for index, trial in enumerate(trials):
        members.setdefault(str([trial.labels[axis] for axis in axes]), []).append(index)
    rows = []
    for indices in members.values():
        ended = [outcomes[i] for i in indices]
        values = [o.metrics[metric] for o in ended if o and o.state == DONE]
        mean, sd = mean_and_sd(values)
        labels = {axis: trials[indices[0]].labels[axis] for axis in axes}
        numbers = {"done": len(values), "planned": len(indices), "trial": indices[0]}
        rows.append({**labels, "mean": mean, "sd": sd, **numbers})
    table = pd.DataFrame(rows)
    table["complete"] = table["done"] == table["planned"]
    order = ["complete", "mean"]
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _write_best(
    path: Path, table: pd.DataFrame, trials: Sequence[Trial], config_file: str, metric: str
) -> None:
    """The best complete setting as a config: ``_BASE_`` and the keys that the search set."""
    best = table.iloc[0]
    if not best["complete"] or math.isnan(best["mean"]):
        return
    trial = trials[int(best["trial"])]
    keys = [key for key in trial.overrides[::2] if key != "OUTPUT_DIR"]
    delta: dict[str, Any] = {"_BASE_": os.path.relpath(config_file, path.parent)}
    for key in keys:
        *nodes, last = key.split(".")
        node, value = delta, trial.cfg
        for name in nodes:
            node, value = node.setdefault(name, {}), value[name]
        node[last] = _plain(value[last])
    complete = table[table["complete"]]
    headline = (
        f"# {metric} {with_sd(best['mean'], best['sd'])}, the best of {len(complete)} settings"
    )
    with write_atomically(path) as temporary:
        text = yaml.safe_dump(delta, sort_keys=False, default_flow_style=None, width=100)
        temporary.write_text(f"{headline}\n{text}", encoding="utf-8")


def _plain(value: Any) -> Any:
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, CfgNode) else value


def _print_ranking(table: pd.DataFrame, axes: Sequence[str], metric: str, output: Path) -> None:
    shown = Table(title=f"{metric}, best first", title_justify="left")
    for axis in axes:
        shown.add_column(axis, overflow="fold")
    shown.add_column(metric, justify="right")
    shown.add_column("trainings", justify="right")
    for _, row in table.iterrows():
        done = f"{row['done']} of {row['planned']}"
        shown.add_row(*(str(row[axis]) for axis in axes), with_sd(row["mean"], row["sd"]), done)
    Console().print(shown)
    print(f"{TABLE}, {PICTURE} and {BEST} are in {output}")
