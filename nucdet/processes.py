"""Runs a function in as many processes as the command line asks for, and finds the device."""

from __future__ import annotations

import argparse
import builtins
import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from detectron2.engine import launch
from detectron2.utils import comm
from torch import distributed
from torch.multiprocessing import ProcessRaisedException

from nucdet.errors import InputError
from nucdet.lifetime import bind_forks, end_with_parent

# the message of an OSError: its number, a description and the file
_OS_ERROR = re.compile(r"\[Errno (\d+)\] (.*?)(?:: '(.*)')?")


def check_devices(args: argparse.Namespace) -> None:
    """Check the arguments of :func:`nucdet.arguments.add_devices` before any process starts.

    Raises:
        InputError: fewer than one process or machine, more GPUs than this machine has, a rank that
            is out of range, or several machines without an address at which to meet.
    """
    for option in ("num_gpus", "num_machines"):
        if getattr(args, option) < 1:
            raise InputError(
                f"--{option.replace('_', '-')} {getattr(args, option)}: expected 1 or more (it "
                "counts processes; 1 is right without a GPU too)"
            )
    if not 0 <= args.machine_rank < args.num_machines:
        raise InputError(
            f"--machine-rank {args.machine_rank}: expected 0 to {args.num_machines - 1}, as "
            f"--num-machines is {args.num_machines}"
        )
    if torch.cuda.is_available() and args.num_gpus > torch.cuda.device_count():
        raise InputError(f"--num-gpus {args.num_gpus}: found {torch.cuda.device_count()}")
    if args.num_machines > 1 and args.dist_url == "auto":
        raise InputError("--num-machines needs --dist-url tcp://<first machine>:<port>")


def find_device(name: str, automatic: bool = True) -> str:
    """Check that this machine has a device, and return its name.

    Args:
        name: as in PyTorch: "cpu", "cuda", "cuda:1", "mps".
        automatic: replace "cuda", the default of configs, by "cpu" if there is no GPU.

    Raises:
        InputError: PyTorch does not know the device, or this machine does not have it.
    """
    name = str(name)  # callers from Python may pass a torch.device
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device is {name!r}; expected 'auto', 'cpu' or 'cuda'") from None
    if device.type == "cpu":
        return name
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) < count:
            return name
        if automatic and not count and device.index is None:
            return "cpu"
        found = f"finds {count} GPUs, numbered from 0" if count else "finds no GPU"
        raise InputError(f"device is {name!r}, but PyTorch {found}; use 'cpu'")
    if device.type == "mps" and torch.backends.mps.is_available():
        return name
    raise InputError(f"device is {name!r}, which this machine does not have; use 'cpu' or 'cuda'")


def run_processes(
    function: Callable[[Any], object],
    args: argparse.Namespace,
    argument: Any,
    timeout: timedelta = timedelta(minutes=30),
) -> None:
    """Call ``function(argument)`` in ``args.num_gpus`` processes on each of the machines.

    Args:
        function: defined at module level, so that other processes can import it.
        args: must contain the arguments of :func:`nucdet.arguments.add_devices`.
        argument: the argument of the function; must be picklable.
        timeout: how long a process waits for the others before it gives up.

    Raises:
        InputError, OSError: a user error that occurred in one of the processes.
    """
    try:
        launch(
            _run_bound,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(function, argument, os.getpid()),
            timeout=timeout,
        )
    except ProcessRaisedException as error:
        raise _own_error(error) from error


def _run_bound(function: Callable[[Any], object], argument: Any, starter: int) -> None:
    """Call ``function(argument)``; if ``starter`` is another process, end when it ends."""
    if os.getpid() != starter:
        end_with_parent(starter)
        bind_forks()
    function(argument)
    if distributed.is_initialized():
        # the first process hosts the store through which the others communicate, so it must not end
        # before they do
        comm.synchronize()
        distributed.destroy_process_group()
        # The threads of a group end with the last reference to it, and Detectron2 keeps two. Now
        # and then a process that ended while they ran was aborted ("terminate called without an
        # active exception").
        comm._LOCAL_PROCESS_GROUP = None
        comm._get_global_gloo_group.cache_clear()


def _own_error(error: ProcessRaisedException) -> Exception:
    """The user error that occurred in another process, or the error itself."""
    kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
    if kind.rpartition(".")[2] == InputError.__name__:
        return InputError(message)
    known = getattr(builtins, kind, None)
    if not isinstance(known, type) or not issubclass(known, OSError):
        return error
    said = _OS_ERROR.fullmatch(message)
    return OSError(int(said[1]), said[2], said[3]) if said else OSError(message)
