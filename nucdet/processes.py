"""One function on as many processes as a command line asks for."""

from __future__ import annotations

import argparse
import builtins
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from detectron2.engine import launch
from torch.multiprocessing import ProcessRaisedException

from nucdet.errors import InputError


def run_processes(
    function: Callable[[Any], object],
    args: argparse.Namespace,
    given: Any,
    timeout: timedelta = timedelta(minutes=30),
) -> None:
    """Call ``function(given)`` on ``args.num_gpus`` processes of each of ``args.num_machines``.

    Args:
        function: of a module, so that other processes can import it.
        args: with ``num_gpus``, ``num_machines``, ``machine_rank`` and ``dist_url`` as in
            :func:`detectron2.engine.default_argument_parser`.
        given: what it is called with; can be pickled.
        timeout: how long a process waits for the others before it gives up.

    Raises:
        InputError, OSError: a user's mistake that one of the processes met.
    """
    try:
        launch(
            function,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(given,),
            timeout=timeout,
        )
    except ProcessRaisedException as error:
        raise _own_error(error) from error


def _own_error(error: ProcessRaisedException) -> Exception:
    """A user's mistake that another process met, or the error itself."""
    kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
    if kind.rpartition(".")[2] == InputError.__name__:
        return InputError(message)
    known = getattr(builtins, kind, None)
    is_os_error = isinstance(known, type) and issubclass(known, OSError)
    return OSError(message) if is_os_error else error
