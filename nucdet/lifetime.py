"""Processes that a tool starts end with it, also where it is killed outright."""

from __future__ import annotations

import functools
import os
import signal
import sys

# prctl(2): the signal that this process gets when its parent ends
_PR_SET_PDEATHSIG = 1


@functools.cache
def bind_forks() -> None:
    """Let every process that this one forks from now on end with it, as data loaders do.

    On Linux; elsewhere they notice after seconds that nobody takes their results.
    """
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=end_with_parent)


def end_with_parent(parent: int | None = None) -> None:
    """Let this process be killed where the one that started it ends; on Linux alone.

    Args:
        parent: number of the process that started this one, which ends at once where that has
            ended already, as may be where this one had much to import before.
    """
    if sys.platform != "linux":
        return
    import ctypes  # not every tool starts processes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
