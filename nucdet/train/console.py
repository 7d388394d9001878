"""Keeps a training's output on the screen short; log.txt gets all messages."""

from __future__ import annotations

import logging
import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from nucdet.files import write_atomically

# the loggers with their own handlers
_LOGGERS = ("detectron2", "fvcore", "nucdet")


def setup_run(cfg: CfgNode, args: Namespace) -> None:
    """Run Detectron2's ``default_setup``, with its 500 lines in log.txt instead of on the screen.

    These lines describe the environment, the yaml and the whole config, which is also written to
    config.yaml. An evaluation leaves the config.yaml of a training as it is.

    Args:
        cfg: the config of the run.
        args: the arguments of the command line, with ``config_file``, ``eval_only``, …
    """
    rank = comm.get_rank()
    logging.raiseExceptions = False  # no traceback for every line of the log on a full disk
    # default_setup calls setup_logger with the same arguments, which then reuses these two loggers
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    # Detectron2's loggers show only its own messages
    setup_logger(cfg.OUTPUT_DIR, rank, name="nucdet", enable_propagation=True)
    # it searches for CUDA's compiler when Detectron2 describes the environment, and warns
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    config = Path(cfg.OUTPUT_DIR, "config.yaml")
    of_training = args.eval_only and config.is_file() and config.with_name("losses.csv").is_file()
    # otherwise predictions with it would use the thresholds of a trial
    kept = config.read_bytes() if of_training else None
    with messages_to_file(), _no_search_for_a_missing_compiler():
        default_setup(cfg, args)
    if kept is not None and comm.is_main_process():
        with write_atomically(config) as temporary:
            temporary.write_bytes(kept)
    for handler in _screen_handlers():
        handler.addFilter(_is_no_traceback)


@contextmanager
def messages_to_file() -> Iterator[None]:
    """Within this context only warnings and errors reach the screen; log.txt gets everything."""
    handlers = _screen_handlers()
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


@contextmanager
def _no_search_for_a_missing_compiler() -> Iterator[None]:
    """Where there is no C++ compiler, name a program that prints nothing in its place.

    Detectron2 asks the compiler for its version when it describes the environment, and the shell
    would print "c++: not found" as the first line of every training.
    """
    given = os.environ.get("CXX")
    if shutil.which(given or "c++") is not None:
        yield
        return
    os.environ["CXX"] = "true"
    try:
        yield
    finally:
        if given is None:
            del os.environ["CXX"]
        else:
            os.environ["CXX"] = given


def _screen_handlers() -> list[logging.Handler]:
    return [
        handler
        for name in _LOGGERS
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler) and not _writes_a_file(handler)
    ]


def _writes_a_file(handler: logging.StreamHandler) -> bool:
    # Detectron2 uses a StreamHandler on an open file, not a FileHandler
    return Path(str(getattr(handler.stream, "name", ""))).is_file()


def _is_no_traceback(record: logging.LogRecord) -> bool:
    """False for the traceback of a failed training, which nucdet.errors reports in one line."""
    return not (record.name == "detectron2.engine.train_loop" and record.exc_info)
