"""Training hooks: divergence, staged freezing, evaluation, best model and early stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from torch import nn

from nucdet.errors import InputError, similar_names
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.checkpointing import save_checkpoint

logger = logging.getLogger(__name__)


class Diverged(BaseException):
    """Ends the training loop; as a BaseException it is not logged with a traceback by the loop."""


class FiniteWeights(HookBase):
    """Stops a training before weights that are not finite are saved.

    A loss can be finite while its gradient is not. The next checkpoint would then be useless, and
    since only a few checkpoints are kept, it would replace a good one.
    """

    def __init__(self, model: nn.Module, period: int):
        """
        Args:
            model: the model in training.
            period: iterations between two checks, equal to that of the checkpoints.
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
    """Trains only chosen parts of the model until given iterations (SOLVER.STAGES).

    For example, only the heads for 10,000 iterations, then C4, C5 and the heads for 5,000, as in
    matterport's Mask R-CNN.
    """

    def __init__(self, stages: Sequence[Mapping[str, Any]], model: nn.Module):
        """
        Args:
            stages: ``[{"until": iteration, "train": [prefixes of parameter names]}, …]``, in
                ascending order.
            model: the bare model, not wrapped for data parallel training.

        Raises:
            InputError: a stage has missing or unknown keys, the iterations do not ascend, or a
                prefix matches no trainable parameter.
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
            if not isinstance(stage["until"], int) or stage["until"] <= last:
                raise InputError(
                    "SOLVER.STAGES: 'until' must ascend, as numbers of iterations; found "
                    f"{stage['until']!r}"
                )
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
        if index is None:  # the last stage stays in force after its end
            index = len(self.stages) - 1
        if index == self._current:
            return
        self._current = index
        prefixes = tuple(self.stages[index]["train"])
        self.trainer.set_trainable({n for n in self._trainable if n.startswith(prefixes)})
        logger.info("Stage %d from iteration %d: training %s", index + 1, iteration, prefixes)


class Evaluation(hooks.EvalHook):
    """Detectron2's EvalHook, which on resume repeats the evaluation in which a training was killed.

    The checkpoint of an iteration is saved before its evaluation, so that the iterations need not
    be repeated, too.
    """

    def before_train(self) -> None:
        trainer = self.trainer
        done = trainer.start_iter
        if not 0 < done < trainer.max_iter or self._period <= 0 or done % self._period:
            return
        # at the end of a shorter schedule the evaluation has the number of the next iteration
        if {done - 1, done} & set(_evaluated_iterations(Path(trainer.cfg.OUTPUT_DIR))):
            return
        trainer.iter = trainer.storage.iter = done - 1
        self._do_eval()
        trainer.iter = trainer.storage.iter = done


class BestModel(HookBase):
    """Keeps the model that scores best on validation, and stops when it no longer improves.

    Detectron2's BestCheckpointer forgets the best score on resume, and marks the best checkpoint as
    the last one, from which a resumed training would then continue. This hook does neither.
    """

    FILE_NAME = "model_best.pth"

    def __init__(self, metric: str, output_dir: str, patience: int = 0):
        """
        Args:
            metric: "task/metric" in the evaluation's results; higher is better.
            output_dir: folder for model_best.pth.
            patience: stop after this many evaluations without improvement; 0: never.
        """
        self.metric, self.patience = metric, patience
        self.path = Path(output_dir) / self.FILE_NAME
        self.best, self.best_iteration = -math.inf, -1
        self._seen = -1
        self._evaluations_since = 0
        # tells this training's model_best.pth from one that an earlier training left in the folder
        self._started: int | None = time.time_ns()

    def state_dict(self) -> dict[str, int | None]:
        return {"evaluations_since": self._evaluations_since, "started": self._started}

    def load_state_dict(self, state: dict[str, int | None]) -> None:
        self._evaluations_since = state["evaluations_since"]
        self._started = state.get("started")  # None: a checkpoint of an earlier version

    def before_train(self) -> None:
        self._read_best()
        self._check_evaluation()  # one that was repeated

    def _read_best(self) -> None:
        # read from the file, since the checkpoint of an iteration is saved before its evaluation
        if self.trainer.start_iter > 0 and self.path.is_file():
            try:
                saved = read_checkpoint(self.path)
            except InputError as error:
                logger.warning("The next evaluation counts as the best so far: %s", error)
                return
            if saved.get("metric") == self.metric and saved.get("started") == self._started:
                self.best, self.best_iteration = saved["value"], saved["iteration"]
                self._evaluations_since = self._count_evaluations_since()

    def _count_evaluations_since(self) -> int:
        """The evaluations since the best one that the resumed training does not repeat.

        They are counted in evaluation.csv: a checkpoint does not know of the one that follows it.
        """
        counted = range(self.best_iteration + 1, self.trainer.start_iter + 1)
        return sum(i in counted for i in _evaluated_iterations(self.path.parent))

    def after_step(self) -> None:
        self._check_evaluation()

    def after_train(self) -> None:
        self._check_evaluation()

    def _check_evaluation(self) -> None:
        iteration, results = self.trainer.last_evaluation
        if iteration <= self._seen:
            return
        self._seen = iteration
        if self.metric not in results:
            logger.warning(
                "TEST.BEST_METRIC %r is not among the results, no best model is kept; there are %s",
                self.metric, ", ".join(similar_names(results, self.metric) or sorted(results)),
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
            "started": self._started,
        }
        save_checkpoint(self.path, content)
        logger.info("Best %s so far: %.4f, saved to %s", self.metric, self.best, self.path)


def _evaluated_iterations(folder: Path) -> list[int]:
    """The iterations whose evaluations are in the evaluation.csv of a training's folder."""
    log = folder / "evaluation.csv"
    return pd.read_csv(log)["iteration"].tolist() if log.is_file() else []
