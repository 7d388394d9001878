"""Training hooks that write logs: lines on the screen, losses.csv and evaluation.csv."""

from __future__ import annotations

import csv
import io
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.engine import HookBase, hooks
from detectron2.utils.events import CommonMetricPrinter, EventWriter

from nucdet.files import remove_left_over, write_atomically
from nucdet.progress import PERIOD

logger = logging.getLogger(__name__)


class TimedWriter(hooks.PeriodicWriter):
    """Detectron2's PeriodicWriter, which also prints a line if the last one is 30 s old."""

    def __init__(self, writers: Sequence[EventWriter], period: int):
        """
        Args:
            writers: all write periodically; a CommonMetricPrinter also writes in between.
            period: iterations between two writes.
        """
        super().__init__(writers, period)
        self._printers = [w for w in writers if isinstance(w, CommonMetricPrinter)]
        self._last = time.monotonic()

    def after_step(self) -> None:
        super().after_step()
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._last = time.monotonic()
        elif time.monotonic() - self._last >= PERIOD:
            self._last = time.monotonic()
            for printer in self._printers:
                printer.write()


class LossLog(HookBase):
    """Writes ``losses.csv``, one row for each iteration.

    ``cpu_time`` is the CPU time of this process since the previous row, including any evaluation in
    between; unlike "time" it does not depend on other work of the machine.

    On resume, the rows of iterations that will run again are removed first. Each row is written
    before the checkpoint of its iteration, so that a killed and resumed training has no gap.

    A training that starts anew also removes what an earlier one in the folder left in Detectron2's
    own logs: their writers would continue metrics.json, and TensorBoard would draw both trainings
    as one.
    """

    _TIMES = ("lr", "time", "data_time")
    _CPU_TIME = "cpu_time"

    def __init__(self, output_dir: str):
        self.path = Path(output_dir) / "losses.csv"
        # listed now, as the writers of this training may open theirs before it starts
        self._earlier_events = list(self.path.parent.glob("events.out.tfevents.*"))
        self._file: Any = None
        self._writer: csv.DictWriter | None = None
        self._cpu_seconds = 0.0

    def before_train(self) -> None:
        self._cpu_seconds = time.process_time()
        _keep_rows(self.path, self.trainer.start_iter - 1)
        if self.trainer.start_iter == 0:
            metrics = self.path.with_name("metrics.json")
            if metrics.is_file():
                os.truncate(metrics, 0)  # and not removed, as its writer has it open
            for events in self._earlier_events:
                events.unlink(missing_ok=True)

    def after_step(self) -> None:
        now = self.trainer.iter
        current = {
            name: value for name, (value, at) in self.trainer.storage.latest().items() if at == now
        }
        losses = {n: v for n, v in current.items() if "loss" in n and "/" not in n}
        # Detectron2 starts timing after some iterations, but the columns must exist from the start
        times = {name: current.get(name) for name in self._TIMES}
        before, self._cpu_seconds = self._cpu_seconds, time.process_time()
        times[self._CPU_TIME] = self._cpu_seconds - before
        self._write({"iteration": now, **losses, **times})

    def after_train(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, row: dict[str, float]) -> None:
        if self._writer is None:
            names = list(row)
            if self.path.is_file():
                names = list(pd.read_csv(self.path, nrows=0)) or names
            # line-buffered: a killed training leaves whole rows
            self._file = self.path.open("a", newline="", buffering=1, encoding="utf-8")
            self._writer = csv.DictWriter(self._file, names, extrasaction="ignore")
            if self._file.tell() == 0:
                self._writer.writeheader()
        self._writer.writerow(row)


class EvaluationLog(HookBase):
    """Writes ``evaluation.csv``, one row for each evaluation.

    The evaluation after the last iteration gets the number of the next iteration, so that its row
    is kept when the training is resumed.
    """

    def __init__(self, output_dir: str):
        self.path = Path(output_dir) / "evaluation.csv"
        self._evaluated = -1

    def before_train(self) -> None:
        _keep_rows(self.path, self.trainer.start_iter)

    def after_step(self) -> None:
        self._write()

    def after_train(self) -> None:
        self._write()

    def _write(self) -> None:
        iteration, results = self.trainer.last_evaluation
        if iteration <= self._evaluated:
            return
        self._evaluated = iteration
        table = pd.DataFrame([{"iteration": iteration, **results}])
        if self.path.is_file():
            older = pd.read_csv(self.path)
            table = pd.concat([older[older["iteration"] < iteration], table])
        _write_csv(self.path, table)


def _keep_rows(path: Path, last: int) -> None:
    """Keep complete rows up to this iteration; a crash may have cut the last row short."""
    remove_left_over([path])
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    whole = b"".join(line for line in lines if line.endswith(b"\n") and b"\0" not in line)
    if not whole:
        path.unlink()
        return
    table = pd.read_csv(io.BytesIO(whole))
    _write_csv(path, table[table["iteration"] <= last])


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    if table.empty:
        path.unlink(missing_ok=True)
        return
    with write_atomically(path) as temporary:
        table.to_csv(temporary, index=False)
