"""One run of training or evaluation, from parsed arguments to results."""

from __future__ import annotations

import argparse
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode

from nucdet.config import load_config
from nucdet.data.datasets import (
    check_datasets,
    chosen_planes,
    register_datasets,
    shared_images,
)
from nucdet.data.io.choice import options_text
from nucdet.errors import InputError
from nucdet.locks import TRAINING, lock_folder
from nucdet.modeling.architecture_checks import check_architecture, check_training_data
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.weight_checks import check_trained, check_weights
from nucdet.processes import check_devices, find_device, run_processes
from nucdet.train.console import messages_to_file, setup_run

if TYPE_CHECKING:
    from nucdet.train.trainer import NucleusTrainer

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace, trainer: type[NucleusTrainer] | None = None) -> None:
    """Train, or with ``args.eval_only`` evaluate, on as many processes as the arguments say.

    Args:
        args: as from :func:`nucdet.commands.train.argument_parser`.
        trainer: a subclass of NucleusTrainer to use; None: NucleusTrainer itself.

    Raises:
        InputError, OSError: raised before any process starts, as far as possible; among others,
            if another training writes to OUTPUT_DIR.
    """
    check_devices(args)
    cfg = prepare(args)
    with _no_other_training(Path(cfg.OUTPUT_DIR), args):
        run_processes(partial(_run_process, trainer_class=trainer), args, args)


def _no_other_training(folder: Path, args: argparse.Namespace) -> AbstractContextManager[object]:
    """A lock on the folder, unless this process only evaluates or helps another machine's."""
    if args.eval_only or args.machine_rank:
        return nullcontext()
    return lock_folder(folder, name=TRAINING, option="OUTPUT_DIR")


def prepare(args: argparse.Namespace) -> CfgNode:
    """Load and check the config of a run, choose its device and register its data sets."""
    cfg = load_config(args.config_file or None, args.opts)
    register_datasets()
    cfg.MODEL.DEVICE = find_device(cfg.MODEL.DEVICE)
    _check_share(cfg, args)
    if args.perturb is not None:
        from nucdet.train.perturbed import seed_perturbation

        seed_perturbation(args.perturb)
        if not args.eval_only:
            raise InputError("--perturb belongs to evaluation; add --eval-only")
    check_architecture(cfg)
    if args.eval_only:
        check_datasets(cfg.DATASETS.TEST)
    else:
        check_training_data(cfg)
        if not cfg.DATASETS.TRAIN:
            raise InputError("DATASETS.TRAIN is empty; name a data set to train on")
    # a resumed training takes the weights of its own checkpoint
    if not (args.resume and Path(cfg.OUTPUT_DIR, "last_checkpoint").is_file()):
        if args.eval_only:
            check_trained(cfg, args.config_file or "the defaults", args.opts)
        else:
            check_weights(cfg.MODEL.WEIGHTS)
    _check_writable(Path(cfg.OUTPUT_DIR))
    cfg.freeze()
    return cfg


def _check_share(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Raise InputError unless each process gets the same number of images in each iteration."""
    processes = args.num_gpus * args.num_machines
    if not args.eval_only and cfg.SOLVER.IMS_PER_BATCH % processes:
        raise InputError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}, which {processes} processes "
            f"cannot share evenly; expected a multiple of {processes}"
        )


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"OUTPUT_DIR {folder}: cannot be written to; choose another")


def _run_process(
    args: argparse.Namespace, trainer_class: type[NucleusTrainer] | None
) -> dict[str, Any] | None:
    # these load evaluators and TensorBoard; mistakes in the command should be reported before
    from nucdet.train.perturbed import compare_perturbed, seed_perturbation
    from nucdet.train.trainer import NucleusTrainer

    trainer_class = trainer_class or NucleusTrainer
    cfg = prepare(args)
    setup_run(cfg, args)
    logger.info(f"{args.config_file or 'no config file'}: the log is {cfg.OUTPUT_DIR}/log.txt")
    if args.eval_only:
        with messages_to_file():
            model = trainer_class.build_model(cfg)
        checkpointer = NucleusCheckpointer(model, save_dir=cfg.OUTPUT_DIR, complete=True)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = trainer_class.test(cfg, model)
        if args.perturb is not None:
            perturbation = seed_perturbation(args.perturb)
            compare_perturbed(cfg, model, results, perturbation, trainer_class)
        return results
    with messages_to_file():
        trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=args.resume)
    logger.info(_summary(cfg, trainer))
    for name in cfg.DATASETS.TEST:
        if shared := shared_images(cfg.DATASETS.TRAIN, name):
            logger.warning(
                f"{name}: {len(shared)} of its images are trained on, too, {shared[0]} for one: "
                "its scores will be too high"
            )
    for name in cfg.DATASETS.TRAIN:
        if planes := chosen_planes(name):
            logger.info(f"{name}: give nucdet-predict the same options: {options_text(planes)}")
    return trainer.train()


def _summary(cfg: CfgNode, trainer: NucleusTrainer) -> str:
    parameters = sum(p.numel() for p in trainer.bare_model.parameters())
    return (
        f"training {cfg.MODEL.META_ARCHITECTURE} ({parameters / 1e6:.1f} million parameters) on "
        f"{', '.join(cfg.DATASETS.TRAIN)}: device {cfg.MODEL.DEVICE}, {cfg.SOLVER.IMS_PER_BATCH} "
        f"images per iteration, up to iteration {cfg.SOLVER.MAX_ITER}"
    )
