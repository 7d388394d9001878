"""Detectron2's DefaultTrainer with nucdet's data, evaluators and hooks."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.build import get_detection_dataset_dicts
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    TrainerBase,
    hooks,
)
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nucdet.data.evaluation_mapper import EvaluationMapper
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.data.sampling import build_sampler
from nucdet.errors import InputError
from nucdet.evaluation.build import build_evaluator, check_evaluators
from nucdet.layers.precision import computes_bfloat16
from nucdet.modeling.building import build_network
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.predict.evaluated import evaluated
from nucdet.train.averaging import WeightAveraging
from nucdet.train.hooks import (
    BestModel,
    Diverged,
    Evaluation,
    FiniteWeights,
    StagedFreezing,
)
from nucdet.train.logs import EvaluationLog, LossLog, TimedWriter
from nucdet.train.solver import build_optimizer, with_equal_steps
from nucdet.train.validation_loss import validation_losses

logger = logging.getLogger(__name__)

# few, as a checkpoint with the optimizer's state is three times the size of the model
_KEPT_CHECKPOINTS = 3

# what the config and the device say of a group of parameters, apart from its learning rate; an
# optimizer may keep counters in its groups, too
_OF_CONFIG = ("weight_decay", "decoupled_weight_decay", "momentum", "nesterov", "fused")


class NucleusTrainer(DefaultTrainer):
    """Trains the model of a config; see :class:`DefaultTrainer` for the interface.

    It adds data-parallel training on CPUs, balanced sampling, staged freezing, averaged weights,
    best model and early stopping, validation loss, and csv logs.
    """

    def __init__(self, cfg: CfgNode):
        # DefaultTrainer.__init__ wraps the model only on GPUs, and uses Detectron2's checkpointer
        TrainerBase.__init__(self)
        check_evaluators(cfg)  # now, not at the first evaluation
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        make = _mixed_precision_trainer(cfg) if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = make(_data_parallel(model), loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = NucleusCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        # (iteration, {"task/metric": value}) of the newest evaluation, for the hooks
        self.last_evaluation: tuple[int, dict[str, float]] = (-1, {})
        self._stopping = False
        self.register_hooks(self.build_hooks())

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrapper of data-parallel training."""
        wrapped = isinstance(self.model, DistributedDataParallel)
        return self.model.module if wrapped else self.model

    def set_trainable(self, names: set[str]) -> None:
        """Train the parameters of these names and freeze all others.

        Frozen parameters get no gradient, which saves their part of the backward pass. A
        data-parallel wrapper expects a gradient of each parameter that was trainable when it was
        made, so a new one is made.
        """
        model = self.bare_model
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in names
            if name not in names:
                parameter.grad = None
        self._trainer.model = _data_parallel(model)

    def resume_or_load(self, resume: bool = True) -> None:
        """See :meth:`DefaultTrainer.resume_or_load`.

        A resumed training draws images and augmentations with a different seed: with that of the
        start, a training in ten parts would see the images of the first part ten times.
        """
        rates = self.scheduler.base_lrs
        super().resume_or_load(resume)
        # the checkpoint contains the learning rates of its own config; use those of this one
        saved, self.scheduler.base_lrs = self.scheduler.base_lrs, rates
        groups = self.optimizer.param_groups
        for group, rate, before in zip(groups, rates, saved, strict=True):
            if before and rate != before:
                group["lr"] *= rate / before
        if comm.is_main_process():
            earlier = self.checkpointer.take_over(self.start_iter)
            for hook in self._hooks:
                # by itself it would only count the checkpoints saved after resuming, and so keep
                # this number for each part of the training
                if isinstance(hook, hooks.PeriodicCheckpointer):
                    hook.recent_checkpoints = earlier[-_KEPT_CHECKPOINTS:]
        if self.start_iter > 0 and self.cfg.SEED >= 0:
            seed_all_rng(self.cfg.SEED + self.start_iter + comm.get_rank())
            self._trainer.reset_data_loader(lambda: self.build_train_loader(self.cfg))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :meth:`DefaultTrainer.load_state_dict`; a GPU may resume from a CPU's checkpoint.

        Momentum and weight decay are those of the config, not of the state.

        Raises:
            InputError: the state is that of another optimizer, or of one with other groups of
                parameters.
        """
        saved = state_dict["_trainer"]["optimizer"]["param_groups"]
        own = self.optimizer.state_dict()["param_groups"]
        if _kinds(saved) != _kinds(own):
            raise InputError(
                f"{self.cfg.OUTPUT_DIR}: the optimizer in its checkpoint is not that of the "
                "config, or divides the parameters into other groups; to resume, leave SOLVER's "
                "OPTIMIZER, LR_FACTORS, BIAS_LR_FACTOR, WEIGHT_DECAY… and MODEL.BACKBONE.FREEZE_AT "
                "as they were, or train without --resume"
            )
        for group, settings in zip(saved, own, strict=True):
            group.update({key: settings[key] for key in _OF_CONFIG if key in settings})
        if isinstance(self._trainer, AMPTrainer):
            # a CPU does not scale gradients, so its checkpoint has no scale: use the initial one
            scale = self._trainer.grad_scaler.state_dict()
            state_dict["_trainer"].setdefault("grad_scaler", scale)
        super().load_state_dict(state_dict)

    def stop(self) -> None:
        """End the training after this iteration and save it as model_final.pth."""
        self._stopping = True

    def after_step(self) -> None:
        super().after_step()
        if self._stopping:
            raise _StopTraining

    def train(self) -> dict[str, Any] | None:
        """Run the training; returns the results of the last evaluation, or None without any."""
        try:
            super().train()
        except _StopTraining:
            if comm.is_main_process():
                self.checkpointer.save("model_final", iteration=self.iter)
        except Diverged as error:
            raise self._divergence(error) from error
        except OSError as error:
            # on a full disk closing the logs fails, too: the first error says more
            first = error.__context__
            if isinstance(first, OSError) and error.__cause__ is None:
                raise first from None
            raise
        return getattr(self, "_last_eval_results", None)

    def run_step(self) -> None:
        try:
            super().run_step()
        except FloatingPointError:  # Detectron2 raises it if the loss is not finite
            raise Diverged("the loss is no longer a finite number") from None

    def _divergence(self, error: Diverged) -> InputError:
        """The error for the user: the iteration, what may help, and which checkpoints exist."""
        folder = Path(self.cfg.OUTPUT_DIR)
        left = "no checkpoint had been saved"
        if self.checkpointer.has_checkpoint():
            left = f"the last good checkpoint is {self.checkpointer.get_checkpoint_file()}"
        if (folder / BestModel.FILE_NAME).is_file():
            left += f", the best model {folder / BestModel.FILE_NAME}"
        rate = self.optimizer.param_groups[0]["lr"]
        return InputError(
            f"{folder}: the training diverged at iteration {self.iter}: {error}; the learning rate "
            f"was {rate:g}: lower SOLVER.BASE_LR ({self.cfg.SOLVER.BASE_LR:g}) or set "
            f"SOLVER.CLIP_GRADIENTS.ENABLED True; {left}"
        )

    def build_hooks(self) -> list[HookBase]:
        """The hooks in the required order: average, freeze, step the rate, log, save, evaluate."""
        cfg = self.cfg
        result = [hooks.IterationTimer()]
        if cfg.SOLVER.EMA_DECAY:
            result.append(WeightAveraging(self.bare_model, cfg.SOLVER.EMA_DECAY))
        if cfg.SOLVER.STAGES:
            result.append(StagedFreezing(cfg.SOLVER.STAGES, self.bare_model))
        result.append(FiniteWeights(self.bare_model, cfg.SOLVER.CHECKPOINT_PERIOD))
        result.append(hooks.LRScheduler())
        if comm.is_main_process():
            result.append(LossLog(cfg.OUTPUT_DIR))
            result.append(
                hooks.PeriodicCheckpointer(
                    self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, max_to_keep=_KEPT_CHECKPOINTS
                )
            )
        if cfg.DATASETS.TEST:
            result.append(Evaluation(cfg.TEST.EVAL_PERIOD, self._evaluate))
            result.append(
                BestModel(cfg.TEST.BEST_METRIC, cfg.OUTPUT_DIR, cfg.SOLVER.EARLY_STOP_PATIENCE)
            )
        if comm.is_main_process():
            result.append(EvaluationLog(cfg.OUTPUT_DIR))
            result.append(TimedWriter(self.build_writers(), period=20))
        return result

    def _evaluate(self) -> dict[str, Any]:
        if isinstance(self.model, DistributedDataParallel):
            # batch norm has other statistics in each process; those of the first are saved
            for buffer in self.bare_model.buffers():
                distributed.broadcast(buffer, src=0)
        # a data loader draws its seed from the numbers by which a training model samples anchors:
        # otherwise the training would go on differently after each evaluation
        with torch.random.fork_rng(devices=[]):
            results = self.test(self.cfg, self.model)
        # every process gets the results of the main one, so that all stop at the same time
        results = comm.all_gather(results)[0]
        if self.cfg.TEST.VALIDATION_LOSS:
            loader = self.build_validation_loader()
            results["validation"] = validation_losses(self.bare_model, loader)
        self._last_eval_results = results
        # Detectron2's number is one too high if no iteration was left to train
        iteration = min(self.iter, self.max_iter)
        self.last_evaluation = (iteration, dict(flatten_results_dict(results)))
        return results

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """See :func:`nucdet.modeling.building.build_network`."""
        model = build_network(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See :func:`nucdet.train.solver.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """SOLVER.LR_SCHEDULER_NAME; see also :func:`nucdet.train.solver.with_equal_steps`."""
        return super().build_lr_scheduler(with_equal_steps(cfg), optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
        records = _labelled_images(cfg, cfg.DATASETS.TRAIN)
        sampler = build_sampler(cfg, records)
        # serialized once, for the loader and for augmentations that use several images
        dataset = DatasetFromList(records, copy=False)
        mapper = NucleusDatasetMapper(cfg, augment=True, records=dataset)
        return build_detection_train_loader(cfg, mapper=mapper, dataset=dataset, sampler=sampler)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        return build_detection_test_loader(cfg, dataset_name, mapper=EvaluationMapper(cfg))

    def build_validation_loader(self) -> Iterable[list[dict[str, Any]]]:
        """DATASETS.TEST with ground truth and without augmentation, each image once."""
        cfg = self.cfg
        dicts = _labelled_images(cfg, cfg.DATASETS.TEST)
        mapper = NucleusDatasetMapper(cfg, augment=False, with_truth=True)
        return build_detection_test_loader(
            dicts, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
        )

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> OrderedDict[str, Any]:
        """Evaluate on DATASETS.TEST; see :meth:`DefaultTrainer.test`. {} in other processes.

        Instances are the same as a Segmenter finds, with its tiles, limits, views and precision.
        """
        with evaluated(cfg, model) as predictor:
            return super().test(cfg, predictor, evaluators) or OrderedDict()


def _labelled_images(cfg: CfgNode, names: Sequence[str]) -> list[dict[str, Any]]:
    """The images with a nucleus, or all if DATALOADER.FILTER_EMPTY_ANNOTATIONS is off.

    Raises:
        FileNotFoundError: their files are not where they were when they were converted.
        InputError: there is none.
    """
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    try:
        records = get_detection_dataset_dicts(list(names), filter_empty=filter_empty)
    except AssertionError as error:
        raise InputError(
            f"{', '.join(names)}: none of the images has a nucleus to learn from; expected at "
            "least one: convert them with ground truth"
        ) from error
    missing = [r["file_name"] for r in records if not Path(r["file_name"]).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{os.path.realpath(missing[0])}: not found, one of {len(missing)} missing images of "
            f"{', '.join(names)}; move them back, or convert the data again"
        )
    return records


def _kinds(groups: Sequence[dict[str, Any]]) -> list[tuple[bool, int]]:
    """For each group of an optimizer's parameters: whether it is Adam's, and their number."""
    return [("betas" in group, len(group["params"])) for group in groups]


class Bfloat16Trainer(SimpleTrainer):
    """SimpleTrainer that computes in bfloat16 where autocast allows it; weights stay float32.

    For CPUs, which Detectron2's AMPTrainer does not support. bfloat16 has the range of float32, so
    the loss needs no scaling.
    """

    def run_step(self) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            super().run_step()


def _mixed_precision_trainer(cfg: CfgNode) -> type[SimpleTrainer]:
    device = torch.device(cfg.MODEL.DEVICE).type
    if device == "cuda":
        return AMPTrainer
    if device == "cpu" and computes_bfloat16():
        return Bfloat16Trainer
    logger.warning("SOLVER.AMP: this %s does not support 16 bits, so training in 32", device)
    return SimpleTrainer


class _StopTraining(BaseException):
    """Ends the training loop; not an Exception, because the loop logs those as errors."""


def _data_parallel(model: nn.Module) -> nn.Module:
    on_gpu = next(model.parameters()).is_cuda
    device_ids = [torch.cuda.current_device()] if on_gpu else None
    return create_ddp_model(model, broadcast_buffers=False, device_ids=device_ids)
