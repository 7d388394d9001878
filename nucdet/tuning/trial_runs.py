"""Runs the trainings of a series, each in its own process.

Each training runs like ``nucdet-train``, in its own process, so that seeds, registries and memory
start fresh and a crash affects nothing else. The results are those of its last evaluation.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from nucdet.files import remove_left_over
from nucdet.lifetime import end_with_parent
from nucdet.progress import ProgressBar
from nucdet.tuning.trials import (
    DONE,
    FAILED,
    INTERRUPTED,
    STARTED,
    STATE_FILE,
    Outcome,
    Trial,
    check_metric,
    data_digest,
    read_outcome,
    write_outcome,
)

_LOG_FILE = "train.log"
_POLL_PERIOD = 5.0  # seconds between two checks of a training's progress


class TrialError(Exception):
    """A training ended without a result; the message is one line."""


def run_trial(
    trial: Trial, config_file: str | Path, metric: str, lock: int, retry_failed: bool = False
) -> Outcome:
    """Train unless the trial has ended; an interrupted trial continues from its last checkpoint.

    Args:
        trial: from :func:`plan_trials`.
        config_file: the same as for :func:`plan_trials`.
        metric: ``"task/metric"`` that must be among the results.
        lock: from :func:`nucdet.locks.lock_folder` for the trial's folder.
        retry_failed: also train if the trial has failed.

    Raises:
        InputError: ``metric`` is not among the results.
    """
    remove_left_over([trial.folder / STATE_FILE])
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
        process = _start(command, stdout=file, stderr=file, **bound)
    code = _wait(process, trial)
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        hint = " (out of memory?)" if code == -9 else ""
        raise TrialError(f"ended by signal {-code}{hint}")
    if code:
        raise TrialError(_last_error(log.read_text(errors="replace")))


def _start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process; Ctrl-C in the meantime counts at the end.

    While Python forks, it would print the traceback of a KeyboardInterrupt and go on.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not in_main_thread:
        return subprocess.Popen(command, **options)
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        process = subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        process.kill()
        process.wait()
        raise KeyboardInterrupt
    return process


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
    outcome = Outcome(STARTED, seconds, data=data_digest(trial.cfg))
    # if this process is killed, it is still known which data the checkpoint was trained on
    write_outcome(trial.folder, outcome)
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
        write_outcome(trial.folder, outcome)
    return outcome


def _read_results(folder: Path) -> tuple[dict[str, float], int]:
    try:
        last = pd.read_csv(folder / "evaluation.csv").iloc[-1]
    except FileNotFoundError as error:
        raise TrialError("the training ended without an evaluation") from error
    iterations = int(pd.read_csv(folder / "losses.csv")["iteration"].iloc[-1]) + 1
    return last.drop("iteration").astype(float).to_dict(), iterations


def _last_error(log: str) -> str:
    """The line of a log that says why a process failed: nucdet's, or the last of a traceback."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = re.compile(r"error: |([a-zA-Z_]\w*\.)*[A-Z]\w*(Error|Exception|Interrupt|Exit)\b")
    return next((line for line in reversed(lines) if said.match(line)), "\n".join(lines[-1:]))
