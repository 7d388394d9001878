"""Trainings in a row that may be interrupted: what searches and cross-validation are made of.

Each training runs as ``train_net.py`` would, in a process of its own, so that seeds, registries
and memory start fresh and a crash takes nothing else along. Its folder is named after its config:
the same command finds its finished trainings again, another command in the same folder those whose
configs it shares. Results are those of a training's last evaluation.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.config import CfgNode

from nucdet.config import load_config
from nucdet.data.datasets import check_training_data, register_datasets
from nucdet.errors import InputError
from nucdet.files import write_json

DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"
_STATE_FILE = "trial.json"
_LOG_FILE = "train.log"
_NAME_LENGTH = 60  # of a folder, before the digest


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        labels: what tells it from the others, e.g. ``{"SOLVER.BASE_LR": 0.001, "SEED": 1}``.
        overrides: KEY VALUE pairs on top of the config file.
        cfg: its whole config.
        folder: its OUTPUT_DIR.
    """

    labels: Mapping[str, Any]
    overrides: tuple[str, ...]
    cfg: CfgNode
    folder: Path

    @property
    def name(self) -> str:
        """Labels in short, e.g. ``"BASE_LR=0.001 SEED=1"``."""
        return _name(self.labels)


@dataclass
class Outcome:
    """How a trial went so far.

    Attributes:
        state: DONE, FAILED or INTERRUPTED.
        seconds: in all its processes, but for one whose search was killed outright.
        iterations: that it trained.
        metrics: ``"task/metric"`` to value, 0–100.
        error: why it failed, one line.
    """

    state: str
    seconds: float
    iterations: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""


class TrialError(Exception):
    """A training ended without a result; the message is one line."""


def plan_trials(
    config_file: str | Path,
    settings: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
    output_dir: str | Path,
) -> list[Trial]:
    """Load and check every config before the first training starts.

    Args:
        config_file: yaml that all start from.
        settings: labels and KEY VALUE pairs of each trial; a label that is the name of a key takes
            the key's value as the config has it. Of settings with equal configs the first counts.
        output_dir: folder of the trials' folders.

    Raises:
        InputError, FileNotFoundError: a mistake in one of the configs, or data that is not there.
    """
    register_datasets()
    defaults = flat_config(load_config())
    planned: dict[str, Trial] = {}
    for labels, overrides in settings:
        cfg = load_config(config_file, overrides)
        if not cfg.DATASETS.TRAIN or not cfg.DATASETS.TEST:
            raise InputError(
                f"{config_file}: DATASETS.TRAIN {cfg.DATASETS.TRAIN} and DATASETS.TEST "
                f"{cfg.DATASETS.TEST}: expected data to train on and to score on"
            )
        check_training_data(cfg)
        flat = flat_config(cfg)
        labels = {name: flat.get(name, label) for name, label in labels.items()}
        digest = _digest(flat, defaults)
        slug = re.sub(r"[^\w.=+-]+", "_", _name(labels))[:_NAME_LENGTH]
        folder = Path(output_dir) / f"{slug}-{digest}"
        planned.setdefault(digest, Trial(labels, tuple(overrides), cfg, folder))
    return list(planned.values())


def run_trials(
    trials: Sequence[Trial],
    config_file: str | Path,
    output_dir: str | Path,
    metric: str,
    chosen: Sequence[bool] | None = None,
    retry_failed: bool = False,
) -> Iterator[list[Outcome | None]]:
    """Run what is not finished, and tell the state of all after each.

    A finished trial is kept, an interrupted one goes on from its last checkpoint, a failed one is
    recorded and the others go on.

    Args:
        trials: from :func:`plan_trials`.
        config_file: as given to it.
        output_dir: as given to it.
        metric: ``"task/metric"`` that is expected among the results.
        chosen: which of them to run; None: all. Finished ones count either way.
        retry_failed: also run again what failed.

    Yields:
        The outcome of each trial, None where it has not been started: once before the first
        training and once after each.

    Raises:
        InputError: ``metric`` is not among the results; or another process works in the folder.
    """
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    with _sole_user(Path(output_dir)) as lock:
        outcomes = [_read_outcome(trial.folder) for trial in trials]
        _check_metric(outcomes, metric)
        yield outcomes
        ended = {DONE} if retry_failed else {DONE, FAILED}
        waiting = [
            index
            for index, outcome in enumerate(outcomes)
            if (chosen is None or chosen[index]) and (outcome is None or outcome.state not in ended)
        ]
        for number, index in enumerate(waiting, 1):
            trial = trials[index]
            log = trial.folder / _LOG_FILE
            print(f"training {number} of {len(waiting)}: {trial.name} (log: {log})", flush=True)
            outcome = _run_trial(trial, config_file, outcomes[index], lock)
            outcomes[index] = outcome
            _check_metric([outcome], metric)
            score = f"{metric} {outcome.metrics[metric]:.2f}" if outcome.metrics else outcome.error
            print(f"    {outcome.state}: {score} ({outcome.seconds:.0f} s)", flush=True)
            yield outcomes


def train(trial: Trial, config_file: str | Path, lock: int) -> None:
    """Train in another process until the end, from the last checkpoint if there is one.

    Args:
        lock: file descriptor that the process holds open as long as it lives.

    Raises:
        TrialError: the process ended with an error.
        KeyboardInterrupt: it was interrupted.
    """
    command = [sys.executable, "-m", "nucdet.train.run", "--config-file", str(config_file)]
    command += ["--resume", *trial.overrides, "OUTPUT_DIR", str(trial.folder)]
    log = trial.folder / _LOG_FILE
    with log.open("w") as file:
        code = subprocess.run(command, stdout=file, stderr=file, pass_fds=(lock,)).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        raise TrialError(f"ended by signal {-code}" + " (out of memory?)" * (code == -9))
    if code:
        raise TrialError(_last_error(log.read_text(errors="replace")))


def _run_trial(trial: Trial, config_file: str | Path, before: Outcome | None, lock: int) -> Outcome:
    trial.folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic() - (before.seconds if before else 0)
    outcome = Outcome(INTERRUPTED, 0)
    try:
        train(trial, config_file, lock)
        outcome.metrics, outcome.iterations = _read_results(trial.folder)
        outcome.state = DONE
        for checkpoint in trial.folder.glob("model_[0-9]*.pth"):
            checkpoint.unlink()  # there to go on from; model_best and model_final stay
    except TrialError as failure:
        outcome.state, outcome.error = FAILED, str(failure)
    finally:
        outcome.seconds = round(time.monotonic() - start, 1)
        write_json(trial.folder / _STATE_FILE, asdict(outcome))
    return outcome


def _read_outcome(folder: Path) -> Outcome | None:
    path = folder / _STATE_FILE
    if not path.is_file():
        return None
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not a trial's state ({type(error).__name__}); delete it to run the trial "
            "again from its last checkpoint"
        ) from error


def _read_results(folder: Path) -> tuple[dict[str, float], int]:
    try:
        last = pd.read_csv(folder / "evaluation.csv").iloc[-1]
    except FileNotFoundError as error:
        raise TrialError("the training ended without an evaluation") from error
    iterations = int(pd.read_csv(folder / "losses.csv")["iteration"].iloc[-1]) + 1
    return last.drop("iteration").astype(float).to_dict(), iterations


def _check_metric(outcomes: Sequence[Outcome | None], metric: str) -> None:
    for outcome in outcomes:
        if outcome and outcome.state == DONE and metric not in outcome.metrics:
            found = ", ".join(name for name in outcome.metrics if "errors-" not in name)
            raise InputError(f"metric {metric!r} is not among the results; there are {found}")


@contextmanager
def _sole_user(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; a training that outlives this process keeps holding it."""
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another command works in this folder, or a training that it left "
                "behind; wait until it ends or choose another --output-dir"
            ) from error
        yield file.fileno()


def _last_error(log: str) -> str:
    """The line of a log that says why a process ended: ours, or a traceback's last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = re.compile(r"error: |([a-zA-Z_]\w*\.)*[A-Z]\w*(Error|Exception|Interrupt|Exit)\b")
    return next((line for line in reversed(lines) if said.match(line)), "\n".join(lines[-1:]))


def _name(labels: Mapping[str, Any]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in labels.items())


def flat_config(node: CfgNode, prefix: str = "") -> dict[str, Any]:
    """``{"A.B.C": value}`` of all keys."""
    result = {}
    for key, value in node.items():
        name = prefix + key
        result |= flat_config(value, f"{name}.") if isinstance(value, CfgNode) else {name: value}
    return result


def _digest(flat: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Name of a config by what it changes: one that a new key of ours leaves as it is."""
    changed = {
        key: value
        for key, value in flat.items()
        if key != "OUTPUT_DIR" and (key not in defaults or defaults[key] != value)
    }
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]
