"""Results of trials: a csv, mean and standard deviation, and the config of the best one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from detectron2.config import CfgNode

from nucdet.files import write_atomically
from nucdet.tuning.trials import FAILED, Outcome, Trial

_WAITING = "waiting"


def write_trials(
    path: Path, trials: Sequence[Trial], outcomes: Sequence[Outcome | None], metric: str
) -> None:
    """Write one csv row per trial: its labels, seed, state, ``metric``, iterations, seconds, error
    and folder, and then all other metrics."""
    rows = []
    for trial, outcome in zip(trials, outcomes, strict=True):
        outcome = outcome or Outcome(_WAITING, 0)
        rows.append(
            {
                **{"SEED": trial.cfg.SEED, **trial.labels},
                "state": outcome.state,
                metric: outcome.metrics.get(metric, np.nan),
                "iterations": outcome.iterations,
                "seconds": outcome.seconds,
                "error": outcome.error,
                "folder": trial.folder.name,
                **{name: value for name, value in outcome.metrics.items() if name != metric},
            }
        )
    with write_atomically(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def write_config(path: Path, config_file: str, trial: Trial, headline: str) -> None:
    """Write the config of a trial as a yaml: ``_BASE_`` and the keys that the trial overrides."""
    delta: dict[str, Any] = {"_BASE_": os.path.relpath(config_file, path.parent)}
    for key in (key for key in trial.overrides[::2] if key != "OUTPUT_DIR"):
        *nodes, last = key.split(".")
        node, value = delta, trial.cfg
        for name in nodes:
            node, value = node.setdefault(name, {}), value[name]
        node[last] = _plain(value[last])
    with write_atomically(path) as temporary:
        text = yaml.safe_dump(delta, sort_keys=False, default_flow_style=None, width=100)
        temporary.write_text(f"# {headline}\n{text}", encoding="utf-8")


def _plain(value: Any) -> Any:
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, CfgNode) else value


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (N - 1); NaN if there are too few values."""
    mean = float(np.mean(values)) if len(values) else np.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def with_sd(mean: float, sd: float) -> str:
    """Format as ``"45.32 ± 1.20"``; without the deviation if it is NaN, "–" if the mean is."""
    if np.isnan(mean):
        return "–"
    return f"{mean:.2f}" if np.isnan(sd) else f"{mean:.2f} ± {sd:.2f}"


def exit_code(outcomes: Sequence[Outcome | None], table: Path) -> int:
    """0, or 1 and a message on stderr if a trial failed."""
    failed = sum(1 for outcome in outcomes if outcome and outcome.state == FAILED)
    if not failed:
        return 0
    print(
        f"{failed} of {len(outcomes)} trainings failed, see column 'error' of {table}; "
        "--retry-failed runs them again",
        file=sys.stderr,
    )
    return 1
