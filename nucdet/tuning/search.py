"""Search over config keys by short trainings, as an Optuna study; nucdet-search runs it.

The study is stored in the output folder (SQLite), so that the same command continues an interrupted
search, and several processes that run the same command share the settings among them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots
from rich.console import Console
from rich.table import Table

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.files import remove_left_over, write_atomically
from nucdet.locks import lock_folder
from nucdet.tuning.search_space import TPE_STARTUP, Axis, Point, SearchSpace
from nucdet.tuning.trial_runs import run_trial
from nucdet.tuning.trial_tables import exit_code, mean_and_sd, with_sd, write_config, write_trials
from nucdet.tuning.trials import (
    DONE,
    FAILED,
    Trial,
    flat_config,
    note_outdated,
    plan_trials,
    read_outcome,
)

STUDY, TABLE, BEST = "study.db", "search.csv", "best.yaml"
PLOTS: dict[str, Callable[[optuna.Study], Any]] = {
    "search.png": plots.plot_slice,
    "search_history.png": plots.plot_optimization_history,
}
_SEED = "SEED"


def search(
    config_file: str,
    output_dir: str | None = None,
    overrides: Sequence[str] = (),
    *,
    space: SearchSpace,
    seeds: Sequence[int] = (),
    metric: str | None = None,
    retry_failed: bool = False,
) -> int:
    """Train every setting, and after each one write search.csv, Optuna's plots and best.yaml.

    Args:
        config_file: yaml that all settings start from.
        output_dir: None: OUTPUT_DIR of the config with ``_search`` appended.
        overrides: KEY VALUE pairs for all trainings.
        space: what is varied.
        seeds: train each setting once with each of these and rank by the mean; empty: once with
            SEED of the config.
        metric: ``"task/metric"`` of the last evaluation, by which settings are ranked (higher is
            better); None: TEST.BEST_METRIC.
        retry_failed: repeat trainings that failed before.

    Returns:
        1 if a training failed, else 0.

    Raises:
        InputError, OSError: a mistake in any of the configs (with ``"tpe"``, in those of the first
            settings), raised before the first training starts.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    # from the plot of a single setting, which is drawn after the first training
    warnings.filterwarnings("ignore", "Attempting to set identical")
    cfg = load_config(config_file, overrides)
    metric = metric or cfg.TEST.BEST_METRIC
    output = Path(output_dir or f"{cfg.OUTPUT_DIR}_search")
    axes = space.axes(flat_config(cfg))
    taken = {"OUTPUT_DIR", *([_SEED] if seeds else [])} & {axis.name for axis in axes}
    if taken:
        raise InputError(f"{taken.pop()} cannot be varied here; use --output-dir and --seeds")
    points = space.points(axes)
    work = _Search(config_file, output, metric, overrides, axes, seeds, retry_failed, {})
    for point in points:
        work.trainings(point)
    study = work.open_study(space.seed)
    work.enqueue(study, points)
    work.write(study)
    while work.run_next(study, space.learned_trials):
        work.write(study)
    work.print_ranking(study)
    outcomes = [read_outcome(trial.folder) for trial in work.all_trainings(study)]
    return exit_code(outcomes, output / TABLE)


@dataclass(frozen=True)
class _Search:
    """The arguments of a search; ``planned`` caches the trainings of each point."""

    config_file: str
    output: Path
    metric: str
    overrides: Sequence[str]
    axes: Sequence[Axis]
    seeds: Sequence[int]
    retry_failed: bool
    planned: dict[str, list[Trial]]

    def trainings(self, point: Point) -> list[Trial]:
        """One training for each seed, with checked configs."""
        key = repr(sorted(point.items()))
        if key not in self.planned:
            pairs = [text for axis in self.axes for text in axis.overrides(point[axis.name])]
            labels = {axis.name: point[axis.name] for axis in self.axes}
            settings = [
                ({**labels, _SEED: seed}, [*self.overrides, *pairs, _SEED, str(seed)])
                for seed in self.seeds
            ] or [(labels, [*self.overrides, *pairs])]
            self.planned[key] = plan_trials(self.config_file, settings, self.output)
            note_outdated(self.planned[key])
        return self.planned[key]

    def all_trainings(self, study: optuna.Study) -> list[Trial]:
        """The trainings of all settings in the study; of those with equal configs, the first."""
        trials = [t for frozen in study.trials for t in self.trainings(_point(frozen))]
        return list({trial.folder: trial for trial in trials}.values())

    def open_study(self, seed: int) -> optuna.Study:
        """Open or create the output folder's study for this space, config, seeds and metric."""
        cfg = flat_config(load_config(self.config_file, self.overrides))
        cfg.pop("OUTPUT_DIR")
        space = [(a.name, repr(a.distribution), dict(a.choices)) for a in self.axes]
        identity = repr((sorted(cfg.items()), space, list(self.seeds), self.metric))
        self.output.mkdir(parents=True, exist_ok=True)
        with lock_folder(self.output, wait=True):
            return optuna.create_study(
                storage=f"sqlite:///{(self.output / STUDY).resolve()}",
                study_name=hashlib.sha256(identity.encode()).hexdigest()[:8],
                sampler=optuna.samplers.TPESampler(
                    n_startup_trials=TPE_STARTUP, seed=seed, constant_liar=True
                ),
                direction="maximize",
                load_if_exists=True,
            )

    def enqueue(self, study: optuna.Study, points: Sequence[Point]) -> None:
        """Queue points that are new or were interrupted and, with ``retry_failed``, that failed."""
        with lock_folder(self.output, wait=True):
            remove_left_over(self.output / name for name in (TABLE, *PLOTS, BEST))
            for frozen in study.get_trials(states=[TrialState.RUNNING]):
                if not self._is_alive(frozen):
                    study.tell(frozen.number, state=TrialState.FAIL)
            known = [(_point(frozen), frozen.state) for frozen in study.trials]
            open_points = [p for p, state in known if state == TrialState.FAIL and self._again(p)]
            settled = [p for p, state in known if p not in open_points or state in _UNDER_WAY]
            for point in [*open_points, *points]:
                if point not in settled:
                    study.enqueue_trial(point)
                    settled.append(point)

    def _again(self, point: Point) -> bool:
        outcomes = [read_outcome(trial.folder) for trial in self.trainings(point)]
        return self.retry_failed or not any(o and o.state == FAILED for o in outcomes)

    def _is_alive(self, frozen: FrozenTrial) -> bool:
        """Whether another process, or a training that it left behind, is working on this trial."""
        try:
            with ExitStack() as locks:
                for trial in self.trainings(_point(frozen)):
                    locks.enter_context(lock_folder(trial.folder))
        except InputError:
            return True
        return False

    def run_next(self, study: optuna.Study, count: int) -> bool:
        """Train the next setting in the queue or, if there are fewer than ``count``, a new one.

        Returns:
            False if there was nothing left to train.
        """
        with ExitStack() as locks:
            with lock_folder(self.output, wait=True):
                waiting = study.get_trials(deepcopy=False, states=[TrialState.WAITING])
                if not waiting and len({repr(_point(t)) for t in study.trials}) >= count:
                    return False
                trial = study.ask({axis.name: axis.distribution for axis in self.axes})
                try:
                    trainings = self.trainings(trial.params)
                    held = [locks.enter_context(lock_folder(t.folder)) for t in trainings]
                except BaseException:
                    study.tell(trial, state=TrialState.FAIL)
                    raise
            value = np.nan
            try:
                value = self._train(study, trainings, held)
            finally:
                if np.isnan(value):  # a training failed or was interrupted
                    study.tell(trial, state=TrialState.FAIL)
                else:
                    study.tell(trial, value)
        return True

    def _train(self, study: optuna.Study, trainings: list[Trial], locks: list[int]) -> float:
        """The mean score of the trainings of a setting, NaN if one failed."""
        scores = []
        for training, lock in zip(trainings, locks, strict=True):
            outcome = run_trial(training, self.config_file, self.metric, lock, self.retry_failed)
            scores.append(outcome.metrics.get(self.metric, np.nan))
            self.write_table(study)
        return float(np.mean(scores))

    def write_table(self, study: optuna.Study) -> None:
        """Write search.csv, with one row per training."""
        trials = self.all_trainings(study)
        outcomes = [read_outcome(trial.folder) for trial in trials]
        with lock_folder(self.output, wait=True):
            write_trials(self.output / TABLE, trials, outcomes, self.metric)

    def write(self, study: optuna.Study) -> None:
        """Write search.csv and, once a setting is complete, Optuna's plots and best.yaml."""
        self.write_table(study)
        done = {repr(t.params) for t in study.get_trials(states=[TrialState.COMPLETE])}
        if not done:
            return
        trials = self.trainings(study.best_params)
        score = with_sd(*mean_and_sd(self._scores(trials)))
        headline = f"{self.metric} {score}, the best of {len(done)} settings"
        plt.switch_backend("agg")
        with lock_folder(self.output, wait=True):
            for name, plot in PLOTS.items():
                figure = np.ravel(plot(study))[0].figure
                with write_atomically(self.output / name) as temporary:
                    figure.savefig(temporary, dpi=120, bbox_inches="tight")
                plt.close(figure)
            write_config(self.output / BEST, self.config_file, trials[0], headline)

    def _scores(self, trials: Sequence[Trial]) -> list[float]:
        outcomes = [read_outcome(trial.folder) for trial in trials]
        return [o.metrics[self.metric] for o in outcomes if o and o.state == DONE]

    def print_ranking(self, study: optuna.Study) -> None:
        """Print each setting with its mean and standard deviation, complete and best ones first."""
        shown = Table(title=f"{self.metric}, best first", title_justify="left")
        for axis in self.axes:
            shown.add_column(axis.name, overflow="fold")
        shown.add_column(self.metric, justify="right")
        shown.add_column("trainings", justify="right")
        settings = {id(t): t for t in (self.trainings(_point(f)) for f in study.trials)}
        rows = [(trials, self._scores(trials)) for trials in settings.values()]
        rows.sort(key=lambda r: (len(r[1]) == len(r[0]), np.mean(r[1] or [0])), reverse=True)
        for trials, scores in rows:
            labels = [str(trials[0].labels[axis.name]) for axis in self.axes]
            done = f"{len(scores)} of {len(trials)}"
            shown.add_row(*labels, with_sd(*mean_and_sd(scores)), done)
        Console().print(shown)
        print(f"{TABLE}, {', '.join(PLOTS)} and {BEST} are in {self.output}")


_UNDER_WAY = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)


def _point(frozen: FrozenTrial) -> Point:
    # a trial in the queue has no parameters yet, only those it was enqueued with
    return frozen.params or frozen.system_attrs["fixed_params"]
