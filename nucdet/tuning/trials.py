"""Series of trainings that may be interrupted, on which searches and cross-validation are built.

Each training runs like ``nucdet-train``, in its own process, so that seeds, registries and memory
start fresh and a crash affects nothing else. Its folder is named after its config, so that the same
command finds its finished trainings again, as does another command in the same folder if it trains
with the same configs. The results are those of a training's last evaluation.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import portalocker
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from portalocker import AlreadyLocked, LockFlags

from nucdet.config import load_config
from nucdet.data.datasets import check_training_data, register_datasets
from nucdet.errors import InputError
from nucdet.files import remove_left_over, write_json
from nucdet.lifetime import end_with_parent
from nucdet.modeling.architecture_checks import check_architecture
from nucdet.modeling.weight_checks import check_weights
from nucdet.progress import ProgressBar

DONE, FAILED, INTERRUPTED, STARTED = "done", "failed", "interrupted", "started"
_STATE_FILE = "trial.json"
_LOG_FILE = "train.log"
_NAME_LENGTH = 60  # largest length of a folder's name, without the digest
_POLL_PERIOD = 5.0  # seconds between two checks of a training's progress


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        labels: how it differs from the others, e.g. ``{"SOLVER.BASE_LR": 0.001, "SEED": 1}``.
        overrides: KEY VALUE pairs that override the config file.
        cfg: the complete config.
        folder: its OUTPUT_DIR.
    """

    labels: Mapping[str, Any]
    overrides: tuple[str, ...]
    cfg: CfgNode
    folder: Path

    @property
    def name(self) -> str:
        """The labels in short form, e.g. ``"BASE_LR=0.001 SEED=1"``."""
        return _name(self.labels)


@dataclass
class Outcome:
    """The outcome of a trial so far.

    Attributes:
        state: DONE, FAILED, INTERRUPTED, or STARTED while it runs and after it was killed.
        seconds: duration of all its runs, except those whose search was killed.
        iterations: the number of iterations trained.
        metrics: values, 0–100, by ``"task/metric"``.
        error: why it failed, in one line.
        data: sha256 of the data sets' JSON files; "" in files of earlier versions.
    """

    state: str
    seconds: float
    iterations: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    data: str = ""


class TrialError(Exception):
    """A training ended without a result; the message is one line."""


def plan_trials(
    config_file: str | Path,
    settings: Sequence[tuple[Mapping[str, Any], Sequence[str]]],
    output_dir: str | Path,
    *,
    averaged: bool = False,
) -> list[Trial]:
    """Load and check every config before the first training starts; note what is out of date.

    Args:
        config_file: yaml that all trials start from.
        settings: labels and KEY VALUE pairs of each trial; a label named like a config key gets the
            key's value from the config. Of settings with equal configs, only the first is used.
        output_dir: parent folder of the trials' folders.
        averaged: the results are going to be averaged, so trials that are out of date are an error.

    Raises:
        InputError, FileNotFoundError: a mistake in one of the configs, missing data or weights, or
            see :func:`check_same_data`.
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
        check_architecture(cfg)
        check_training_data(cfg)
        flat = flat_config(cfg)
        labels = {name: flat.get(name, label) for name, label in labels.items()}
        digest = _digest(flat, defaults)
        slug = re.sub(r"[^\w.=+-]+", "_", _name(labels))[:_NAME_LENGTH]
        folder = Path(output_dir) / f"{slug}-{digest}"
        if not (folder / "last_checkpoint").is_file():  # otherwise it continues from a checkpoint
            check_weights(cfg.MODEL.WEIGHTS)
        planned.setdefault(digest, Trial(labels, tuple(overrides), cfg, folder))
    trials = list(planned.values())
    if averaged:
        check_same_data(trials, Path(output_dir))
        return trials
    for trial in trials:
        if _is_out_of_date(trial):
            print(
                f"note: {trial.name}: its data was converted again since it was trained; choose "
                "another --output-dir to train on the new data"
            )
    return trials


def check_same_data(trials: Sequence[Trial], output_dir: Path) -> None:
    """Check that no trial has been trained, or started to, on data that was converted again since.

    With new folds, for example, images that one training was scored on are among those that
    another, which is averaged with it, was trained on.

    Raises:
        InputError: one has.
    """
    outdated = [trial.name for trial in trials if _is_out_of_date(trial)]
    if outdated:
        raise InputError(
            f"{output_dir}: found trainings ({', '.join(outdated)}) whose data was converted again "
            "since, so their scores cannot be averaged with new ones; choose another --output-dir "
            f"to train on the new data, or delete {output_dir}"
        )


def _is_out_of_date(trial: Trial) -> bool:
    outcome = read_outcome(trial.folder)
    return outcome is not None and outcome.data not in ("", _data_digest(trial.cfg))


def run_trial(
    trial: Trial, config_file: str | Path, metric: str, lock: int, retry_failed: bool = False
) -> Outcome:
    """Train unless the trial has ended; an interrupted trial continues from its last checkpoint.

    Args:
        trial: from :func:`plan_trials`.
        config_file: the same as for :func:`plan_trials`.
        metric: ``"task/metric"`` that must be among the results.
        lock: from :func:`lock_folder` for the trial's folder.
        retry_failed: also train if the trial has failed.

    Raises:
        InputError: ``metric`` is not among the results.
    """
    remove_left_over([trial.folder / _STATE_FILE])
    outcome = read_outcome(trial.folder)
    if outcome is None or outcome.state not in ({DONE} if retry_failed else {DONE, FAILED}):
        print(f"training {trial.name} (log: {trial.folder / _LOG_FILE})", flush=True)
        outcome = _run_trial(trial, config_file, outcome, lock)
        check_metric([outcome], metric)
        score = f"{metric} {outcome.metrics[metric]:.2f}" if outcome.metrics else outcome.error
        print(f"    {outcome.state}: {score} ({outcome.seconds:.0f} s)", flush=True)
    check_metric([outcome], metric)
    return outcome


def train(trial: Trial, config_file: str | Path, lock: int) -> None:
    """Train in another process until the end, from the last checkpoint if there is one.

    Args:
        trial: from :func:`plan_trials`.
        config_file: the same as for :func:`plan_trials`.
        lock: file descriptor that the process keeps open while it runs (not on Windows).

    Raises:
        TrialError: the process ended with an error.
        KeyboardInterrupt: it was interrupted.
    """
    command = [sys.executable, "-m", "nucdet.commands.train", "--config-file", str(config_file)]
    command += ["--resume", *trial.overrides, "OUTPUT_DIR", str(trial.folder)]
    log = trial.folder / _LOG_FILE
    with log.open("w") as file:
        # the training ends if this process is killed; it can continue from its checkpoint
        bound = {"pass_fds": (lock,), "preexec_fn": end_with_parent} if os.name == "posix" else {}
        process = subprocess.Popen(command, stdout=file, stderr=file, **bound)
    code = _wait(process, trial)
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        raise TrialError(f"ended by signal {-code}" + " (out of memory?)" * (code == -9))
    if code:
        raise TrialError(_last_error(log.read_text(errors="replace")))


def _wait(process: subprocess.Popen[bytes], trial: Trial) -> int:
    """Wait for a training, show its progress from losses.csv, and return its exit code."""
    total = trial.cfg.SOLVER.MAX_ITER
    with process, ProgressBar(name=trial.name, total=total, unit="iteration") as progress:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(_POLL_PERIOD)
                progress.reach(_iterations(trial.folder / "losses.csv"))
        except BaseException:  # as subprocess.run does
            process.kill()
            raise


def _iterations(losses: Path) -> int:
    """The number of iterations in a losses.csv, to which a training may be writing; 0 if none."""
    try:
        with losses.open("rb") as file:
            file.seek(max(0, losses.stat().st_size - 4096))
            rows = file.read().splitlines()
    except FileNotFoundError:
        return 0
    number = rows[-1].partition(b",")[0] if rows else b""
    return int(number) + 1 if number.isdigit() else 0


def _run_trial(trial: Trial, config_file: str | Path, before: Outcome | None, lock: int) -> Outcome:
    seconds = before.seconds if before else 0
    start = time.monotonic() - seconds
    outcome = Outcome(STARTED, seconds, data=_data_digest(trial.cfg))
    # if this process is killed, it is still known which data the checkpoint was trained on
    write_json(trial.folder / _STATE_FILE, asdict(outcome))
    outcome.state = INTERRUPTED
    try:
        train(trial, config_file, lock)
        outcome.metrics, outcome.iterations = _read_results(trial.folder)
        outcome.state = DONE
        for checkpoint in trial.folder.glob("model_[0-9]*.pth"):
            checkpoint.unlink()  # no longer needed to continue; model_best and model_final are kept
    except TrialError as failure:
        outcome.state, outcome.error = FAILED, str(failure)
    finally:
        outcome.seconds = round(time.monotonic() - start, 1)
        write_json(trial.folder / _STATE_FILE, asdict(outcome))
    return outcome


def _data_digest(cfg: CfgNode) -> str:
    """sha256 of the JSON files of the data sets of a config."""
    digest = hashlib.sha256()
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        if json_file := MetadataCatalog.get(name).get("json_file"):
            with Path(json_file).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of the trial in a folder so far, None if it has not been started.

    Raises:
        InputError: the folder's state file is damaged.
    """
    path = folder / _STATE_FILE
    if not path.is_file():
        return None
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
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


def check_metric(outcomes: Sequence[Outcome | None], metric: str) -> None:
    """Raise InputError if a finished trial does not have this metric."""
    for outcome in outcomes:
        if outcome and outcome.state == DONE and metric not in outcome.metrics:
            found = ", ".join(name for name in outcome.metrics if "errors-" not in name)
            raise InputError(f"metric {metric!r} is not among the results; there are {found}")


@contextmanager
def lock_folder(folder: Path, wait: bool = False) -> Iterator[int]:
    """Hold a folder's lock; a training that outlives this process continues to hold it.

    Yields:
        The file descriptor of the lock.

    Raises:
        InputError: another process holds the lock, and ``wait`` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            flags = LockFlags.EXCLUSIVE if wait else LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING
            portalocker.lock(file, flags)
        except AlreadyLocked as error:
            raise InputError(
                f"{folder}: another command trains in this folder, or a training that it left "
                "behind; wait until it ends or choose another --output-dir"
            ) from error
        yield file.fileno()


def _last_error(log: str) -> str:
    """The line of a log that says why a process failed: nucdet's, or the last of a traceback."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = re.compile(r"error: |([a-zA-Z_]\w*\.)*[A-Z]\w*(Error|Exception|Interrupt|Exit)\b")
    return next((line for line in reversed(lines) if said.match(line)), "\n".join(lines[-1:]))


def _name(labels: Mapping[str, Any]) -> str:
    return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in labels.items())


def flat_config(node: CfgNode, prefix: str = "") -> dict[str, Any]:
    """All keys of a config as ``{"A.B.C": value}``."""
    result = {}
    for key, value in node.items():
        name = prefix + key
        result |= flat_config(value, f"{name}.") if isinstance(value, CfgNode) else {name: value}
    return result


def _digest(flat: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """A hash of the keys that differ from the defaults, so that new keys do not change it."""
    changed = {
        key: value
        for key, value in flat.items()
        if key != "OUTPUT_DIR" and (key not in defaults or defaults[key] != value)
    }
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]
