"""Make the processes that a tool starts end with it, even if it is killed."""

from __future__ import annotations

import functools
import multiprocessing.queues
import os
import signal
import sys
from typing import Any, NoReturn

# prctl(2): the signal that this process gets when its parent ends
_PR_SET_PDEATHSIG = 1


@functools.cache
def bind_forks() -> None:
    """Make every process that this one forks from now on, such as a data loader's, end with it.

    They also end if they cannot send a result, such as images for which shared memory has no room
    (``/dev/shm``, 64 MB in a container); otherwise this process would wait for it forever.

    On Linux only; elsewhere the workers notice after a few seconds that their parent is gone.
    Workers are forked from this process even where Python's default is another one's, since 3.14:
    those outlive a training that is killed, and each of them loads torch again.
    """
    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)
        os.register_at_fork(after_in_child=_bind)


def _bind() -> None:
    end_with_parent()
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)


def _end(error: Exception, result: Any) -> NoReturn:
    print(f"a process could not send its result: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def end_with_parent(parent: int | None = None) -> None:
    """Have this process killed when the one that started it ends; on Linux only.

    Args:
        parent: id of the process that started this one. If that has already ended, which may happen
            while this one is still importing, this one ends at once. None: not checked.
    """
    if sys.platform != "linux":
        return
    import ctypes  # only here, because not every tool starts processes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
