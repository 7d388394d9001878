"""What trials gave, as a csv and in numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nucdet.files import write_atomically
from nucdet.tuning.trials import FAILED, Outcome, Trial

_WAITING = "waiting"


def write_trials(
    path: Path, trials: Sequence[Trial], outcomes: Sequence[Outcome | None], metric: str
) -> None:
    """Write one csv row a trial: its labels, seed, state, ``metric``, iterations, seconds, error,
    folder, and then all other metrics."""
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


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (over N - 1); NaN where there are too few values."""
    mean = float(np.mean(values)) if len(values) else np.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def with_sd(mean: float, sd: float) -> str:
    """``"45.32 ± 1.20"``, or as much of it as there is."""
    if np.isnan(mean):
        return "–"
    return f"{mean:.2f}" if np.isnan(sd) else f"{mean:.2f} ± {sd:.2f}"


def exit_code(outcomes: Sequence[Outcome | None], table: Path) -> int:
    """0, or 1 with a word on stderr when a trial failed."""
    failed = sum(1 for outcome in outcomes if outcome and outcome.state == FAILED)
    if not failed:
        return 0
    print(
        f"{failed} of {len(outcomes)} trainings failed, see column 'error' of {table}; "
        "--retry-failed runs them again",
        file=sys.stderr,
    )
    return 1
