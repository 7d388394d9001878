"""Training hooks: divergence, staged freezing, best model and early stop, csv logs."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from torch import nn

from nucdet.errors import InputError
from nucdet.files import remove_left_over, write_atomically
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.checkpointing import save_checkpoint
from nucdet.progress import PERIOD

logger = logging.getLogger(__name__)


class Diverged(BaseException):
    """Ends the training loop without the traceback that the loop prints for an Exception."""


class FiniteWeights(HookBase):
    """Stops a training before weights that are not finite numbers are saved.

    A loss can be finite while its gradient is not: then the next checkpoint would be useless, and
    as only a few checkpoints are kept, a good one would be deleted for it.
    """

    def __init__(self, model: nn.Module, period: int):
        """
        Args:
            model: the model in training.
            period: the weights are checked every so many iterations, as checkpoints are saved.
        """
        self._model, self._period = model, period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period and done < self.trainer.max_iter:
            return
        for name, parameter in self._model.named_parameters():
            if not parameter.detach().isfinite().all():
                raise Diverged(f"{name} holds values that are no finite numbers")


class StagedFreezing(HookBase):
    """Trains chosen parts of the model until given iterations (SOLVER.STAGES).

    For example the heads alone for 10,000 iterations, then C4, C5 and the heads for 5,000, as in
    matterport's Mask R-CNN.
    """

    def __init__(self, stages: Sequence[Mapping[str, Any]], model: nn.Module):
        """
        Args:
            stages: ``[{"until": iteration, "train": [prefixes of parameter names]}, …]``, in
                ascending order.
            model: the bare model, not wrapped for data parallel training.

        Raises:
            InputError: a stage lacks a key, the iterations do not ascend, a prefix names nothing.
        """
        self.stages = list(stages)
        # parameters that the config freezes (MODEL.BACKBONE.FREEZE_AT) stay frozen in every stage
        self._trainable = [name for name, p in model.named_parameters() if p.requires_grad]
        self._current: int | None = None
        last = 0
        for stage in self.stages:
            if not isinstance(stage, Mapping) or set(stage) != {"until", "train"}:
                raise InputError(
                    f"SOLVER.STAGES has {stage!r}, expected {{'until': iteration, 'train': "
                    "[parameter name prefixes]}"
                )
            if stage["until"] <= last:
                raise InputError(f"SOLVER.STAGES: 'until' must ascend, found {stage['until']}")
            last = stage["until"]
            for prefix in stage["train"]:
                if not any(name.startswith(prefix) for name in self._trainable):
                    raise InputError(
                        f"SOLVER.STAGES: {prefix!r} is the start of no trainable parameter's name; "
                        f"they begin with {sorted({n.split('.')[0] for n in self._trainable})}"
                    )

    def before_step(self) -> None:
        iteration = self.trainer.iter
        index = next((i for i, s in enumerate(self.stages) if iteration < s["until"]), None)
        if index is None:  # after the last stage its rule stays in force
            index = len(self.stages) - 1
        if index == self._current:
            return
        self._current = index
        prefixes = tuple(self.stages[index]["train"])
        self.trainer.set_trainable({n for n in self._trainable if n.startswith(prefixes)})
        logger.info("Stage %d from iteration %d: training %s", index + 1, iteration, prefixes)


class BestModel(HookBase):
    """Keeps the model that scores best on validation, and stops when it no longer improves.

    Detectron2's BestCheckpointer forgets the best score on resume, and marks the best checkpoint as
    the last one, from which a resumed training would then go on; this one does neither.
    """

    FILE_NAME = "model_best.pth"

    def __init__(self, metric: str, output_dir: str, patience: int = 0):
        """
        Args:
            metric: "task/metric" in the evaluation's results; higher is better.
            output_dir: where model_best.pth goes.
            patience: stop after this many evaluations without improvement; 0: never.
        """
        self.metric, self.patience = metric, patience
        self.path = Path(output_dir) / self.FILE_NAME
        self.best, self.best_iteration = -math.inf, -1
        self._seen = -1
        self._evaluations_since = 0

    def state_dict(self) -> dict[str, int]:
        return {"evaluations_since": self._evaluations_since}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._evaluations_since = state["evaluations_since"]

    def before_train(self) -> None:
        # from the file itself, since a checkpoint of this iteration was saved before its evaluation
        if self.trainer.start_iter > 0 and self.path.is_file():
            try:
                saved = read_checkpoint(self.path)
            except InputError as error:
                logger.warning("The next evaluation counts as the best so far: %s", error)
                return
            if saved.get("metric") == self.metric:
                self.best, self.best_iteration = saved["value"], saved["iteration"]

    def after_step(self) -> None:
        self._look()

    def after_train(self) -> None:
        self._look()

    def _look(self) -> None:
        iteration, results = self.trainer.last_evaluation
        if iteration <= self._seen:
            return
        self._seen = iteration
        if self.metric not in results:
            logger.warning(
                "TEST.BEST_METRIC %r is not among the results, no best model is kept; there are %s",
                self.metric, sorted(results),
            )  # fmt: skip
            return
        value = results[self.metric]
        if value > self.best:
            self.best, self.best_iteration = value, iteration
            self._evaluations_since = 0
            if comm.is_main_process():
                self._save()
            return
        self._evaluations_since += 1
        if self.patience and self._evaluations_since >= self.patience:
            logger.info(
                "Stopping early: %s has not passed %.4f (iteration %d) in %d evaluations",
                self.metric, self.best, self.best_iteration, self._evaluations_since,
            )  # fmt: skip
            self.trainer.stop()

    def _save(self) -> None:
        content = {
            "model": self.trainer.bare_model.state_dict(),
            "metric": self.metric,
            "value": float(self.best),
            "iteration": int(self.best_iteration),
        }
        save_checkpoint(self.path, content)
        logger.info("Best %s so far: %.4f, saved to %s", self.metric, self.best, self.path)


class TimedWriter(hooks.PeriodicWriter):
    """Detectron2's PeriodicWriter that leaves the screen without a line for no longer than 30 s."""

    def __init__(self, writers: Sequence[EventWriter], period: int):
        """
        Args:
            writers: of which the CommonMetricPrinter also writes in between.
            period: iterations between two writes of all.
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

    ``cpu_time`` is the CPU time of this process since the previous row, including an evaluation in
    between: on a machine that does other work too, "time" depends on that work.

    On resume, the rows of iterations that will run again are removed first. Each row is written
    before the checkpoint of its iteration, so that a killed training that goes on has no gap.
    """

    _TIMES = ("lr", "time", "data_time")
    _CPU_TIME = "cpu_time"

    def __init__(self, output_dir: str):
        self.path = Path(output_dir) / "losses.csv"
        self._file: Any = None
        self._writer: csv.DictWriter | None = None
        self._cpu_seconds = 0.0

    def before_train(self) -> None:
        self._cpu_seconds = time.process_time()
        _keep_rows(self.path, self.trainer.start_iter - 1)

    def after_step(self) -> None:
        now = self.trainer.iter
        current = {
            name: value for name, (value, at) in self.trainer.storage.latest().items() if at == now
        }
        losses = {n: v for n, v in current.items() if "loss" in n and "/" not in n}
        # Detectron2 begins to time after some iterations: the columns are there from the start
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

    The evaluation after the last iteration has the number of the iteration that would follow, so
    that its row stays when the training goes on.
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
    """Keep the rows up to this iteration that are whole; a crash may have cut the last short."""
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
