"""One run of training or evaluation, from parsed arguments to results."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup

from nucdet.config import load_config
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.engine.processes import run_processes
from nucdet.engine.trainer import NucleusTrainer
from nucdet.errors import InputError
from nucdet.modeling.checkpointing import NucleusCheckpointer


def run(args: argparse.Namespace) -> None:
    """Train, or with ``args.eval_only`` evaluate, on as many processes as the arguments say.

    Args:
        args: as from :func:`detectron2.engine.default_argument_parser`.

    Raises:
        InputError, OSError: found before any process starts, as far as that is possible.
    """
    prepare(args)
    run_processes(_run_process, args, args)


def prepare(args: argparse.Namespace) -> CfgNode:
    """The config of a run: file and overrides, device chosen, data sets registered, all checked."""
    cfg = load_config(args.config_file or None, args.opts)
    register_datasets()
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    used = [*cfg.DATASETS.TEST] if args.eval_only else [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    check_datasets(used)
    if not args.eval_only and not cfg.DATASETS.TRAIN:
        raise InputError("DATASETS.TRAIN is empty; name a data set to train on")
    if cfg.SOLVER.AMP.ENABLED and cfg.MODEL.DEVICE == "cpu":
        raise InputError("SOLVER.AMP.ENABLED needs a GPU; set it to False on a CPU")
    _check_writable(Path(cfg.OUTPUT_DIR))
    cfg.freeze()
    return cfg


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"OUTPUT_DIR {folder}: cannot be written to; choose another")


def _run_process(args: argparse.Namespace) -> dict[str, Any] | None:
    cfg = prepare(args)
    default_setup(cfg, args)
    if args.eval_only:
        model = NucleusTrainer.build_model(cfg)
        checkpointer = NucleusCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        return NucleusTrainer.test(cfg, model)
    trainer = NucleusTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()
