"""Cross-validation over folds, or leaving out each kind of image: nucdet-cross-validate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from nucdet.config import load_config
from nucdet.data.dataset_info import splits_of_fold
from nucdet.data.datasets import register_datasets
from nucdet.data.folds import find_folds
from nucdet.data.image_kinds import IMAGE_KINDS
from nucdet.errors import InputError
from nucdet.files import remove_left_over, write_atomically
from nucdet.locks import lock_folder
from nucdet.tuning.trial_runs import run_trial
from nucdet.tuning.trial_tables import exit_code, mean_and_sd, with_sd, write_trials
from nucdet.tuning.trials import (
    DONE,
    Outcome,
    Trial,
    check_metric,
    check_same_data,
    plan_trials,
    read_outcome,
)

TABLE, SUMMARY = "cross_validation.csv", "summary.csv"
_WITH_KINDS = "dsb2018"


def cross_validate(
    config_file: str,
    output_dir: str | None = None,
    overrides: Sequence[str] = (),
    *,
    folds: int | None = None,
    leave_out_kind: bool = False,
    only: Sequence[str] = (),
    retry_failed: bool = False,
) -> int:
    """Train and score each part (fold or kind), and write both csv files after each training.

    cross_validation.csv has one row per part, summary.csv one row per metric: mean and sample
    standard deviation over the finished parts that have this metric.

    Args:
        config_file: yaml; its DATASETS.TRAIN names the data set, and is replaced by the folds of
            it, as is DATASETS.TEST.
        output_dir: None: OUTPUT_DIR of the config with ``_folds`` or ``_kinds`` appended.
        overrides: KEY VALUE pairs for all trainings.
        folds: the number of folds that the data set was converted with; None: whatever it is.
        leave_out_kind: instead of using folds, train on DSB2018 without one kind of image and score
            on it, to measure performance on kinds of microscopy that were not in training.
        only: folds (numbers) or kinds to train now; empty: all. Others that are finished still
            count.
        retry_failed: repeat trainings that failed before.

    Returns:
        1 if a training failed, else 0.

    Raises:
        InputError, OSError: raised before the first training starts; or before another one, if
            the data set was converted again in the meantime.
    """
    cfg = load_config(config_file, overrides)
    metric = cfg.TEST.BEST_METRIC
    suffix = "kinds" if leave_out_kind else "folds"
    output = Path(output_dir or f"{cfg.OUTPUT_DIR}_{suffix}")
    parts = _kinds() if leave_out_kind else _folds(cfg.DATASETS.TRAIN, folds)
    if unknown := set(only) - set(parts):
        raise InputError(f"--only {','.join(sorted(unknown))}: expected some of {','.join(parts)}")
    label = "kind" if leave_out_kind else "fold"
    settings = [
        ({label: part}, [*overrides, *_datasets(train, test)])
        for part, (train, test) in parts.items()
    ]
    trials = plan_trials(config_file, settings, output)
    check_same_data(trials, output)

    outcomes = _outcomes(trials)
    check_metric(outcomes, metric)
    with lock_folder(output, wait=True):
        remove_left_over([output / TABLE, output / SUMMARY])
    for trial in [trial for trial in trials if not only or trial.labels[label] in only]:
        check_same_data(trials, output)
        with lock_folder(trial.folder) as lock:
            run_trial(trial, config_file, metric, lock, retry_failed)
        with lock_folder(output, wait=True), write_atomically(output / SUMMARY) as temporary:
            # read again, since another command may train other folds in the meantime
            outcomes = _outcomes(trials)
            summary = _summarize(outcomes)
            write_trials(output / TABLE, trials, outcomes, metric)
            summary.to_csv(temporary, index=False)
    _print_tables(trials, outcomes, label, metric, summary)
    print(f"{TABLE} and {SUMMARY} are in {output}")
    return exit_code(outcomes, output / TABLE)


def _outcomes(trials: Sequence[Trial]) -> list[Outcome | None]:
    return [read_outcome(trial.folder) for trial in trials]


def _kinds() -> dict[str, tuple[str, str]]:
    """For each kind of image, the data sets to train on and to score on."""
    return {
        kind: (f"{_WITH_KINDS}_without_{kind}", f"{_WITH_KINDS}_only_{kind}")
        for kind in IMAGE_KINDS
    }


def _folds(train: Sequence[str], folds: int | None) -> dict[str, tuple[str, str]]:
    """For each fold of the data set of DATASETS.TRAIN, the data sets to train and to score on."""
    register_datasets()
    name, count = find_folds(train, folds)
    pairs = (splits_of_fold(fold) for fold in range(count))
    return {
        str(fold): (f"{name}_{to_train}", f"{name}_{to_score}")
        for fold, (to_train, to_score) in enumerate(pairs)
    }


def _datasets(train: str, test: str) -> list[str]:
    return ["DATASETS.TRAIN", f"('{train}',)", "DATASETS.TEST", f"('{test}',)"]


def _summarize(outcomes: Sequence[Outcome | None]) -> pd.DataFrame:
    done = pd.DataFrame([o.metrics for o in outcomes if o and o.state == DONE])
    rows: list[dict[str, Any]] = []
    for name, column in done.items():
        values = column.dropna().tolist()  # not every fold contains every kind of image
        mean, sd = mean_and_sd(values)
        rows.append({"metric": name, "mean": mean, "sd": sd, "trainings": len(values)})
    return pd.DataFrame(rows, columns=["metric", "mean", "sd", "trainings"])


def _print_tables(
    trials: Sequence[Trial],
    outcomes: Sequence[Outcome | None],
    label: str,
    metric: str,
    summary: pd.DataFrame,
) -> None:
    console = Console()
    parts = Table(title="Trainings", title_justify="left")
    for column in (label, "state", metric, "seconds"):
        parts.add_column(column, justify="left" if column in (label, "state") else "right")
    for trial, outcome in zip(trials, outcomes, strict=True):
        part = str(trial.labels[label])
        if outcome is None:
            parts.add_row(part, "waiting", "–", "–")
            continue
        score = f"{outcome.metrics[metric]:.2f}" if outcome.metrics else "–"
        parts.add_row(part, outcome.state, score, f"{outcome.seconds:.0f}")
    console.print(parts)
    metrics = Table(title="Mean ± standard deviation", title_justify="left")
    for column in ("metric", "value", "trainings"):
        metrics.add_column(column, justify="left" if column == "metric" else "right")
    for row in summary.itertuples():
        metrics.add_row(row.metric, with_sd(row.mean, row.sd), str(row.trainings))
    console.print(metrics)
    # again below the long table, where it is read
    for row in summary[summary["metric"] == metric].itertuples():
        print(f"{metric}: {with_sd(row.mean, row.sd)} over {row.trainings} trainings")
