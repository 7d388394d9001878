"""Converts images in several processes."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2

from nucdet.data.conversion.coco_json import ImageEntry
from nucdet.data.conversion.report import Problem
from nucdet.data.conversion.tiles import Borders
from nucdet.errors import InputError
from nucdet.lifetime import end_with_parent
from nucdet.progress import ProgressBar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass
class ImageResult:
    """The result for one image.

    Attributes:
        problems: what is invalid.
        image: the entry to write; None if the image must be left out.
        borders: to find its neighboring tiles; None if the image must be left out.
        doubts: what the user should look at although it is valid, to follow "the labels of".
        copy: a temporary file with the plane that was read, if the image's file contains more.
    """

    problems: list[Problem]
    image: ImageEntry | None = None
    borders: Borders | None = None
    doubts: list[str] = field(default_factory=list, kw_only=True)
    copy: Path | None = field(default=None, kw_only=True)


def check_workers(workers: int) -> None:
    """Check the number of processes.

    Raises:
        InputError: it is below 1.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: expected 1 or more")


def map_images(
    convert: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int
) -> list[_Result]:
    """Apply ``convert`` to all tasks in ``workers`` processes; the results keep their order.

    Raises:
        InputError: a process has ended, for example because the memory was used up.
    """
    if workers == 1:
        return list(ProgressBar(map(convert, tasks), "converting", len(tasks)))
    context = multiprocessing.get_context(_start_method())
    with (
        _no_opencv_threads(),
        ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool,
    ):
        try:
            results = pool.map(convert, tasks, chunksize=4)
            return list(ProgressBar(results, "converting", len(tasks)))
        except BrokenProcessPool:
            raise InputError(
                f"--workers {workers}: a process ended before its images were converted; if there "
                "is too little memory for so many, use fewer"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_method() -> str:
    """How to start workers.

    A forked worker has torch and OpenCV loaded already; loading them takes a worker seconds. But it
    would wait forever for a lock that another thread of this process held, such as zarr's.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    return "fork" if can_fork and threading.active_count() == 1 else "spawn"


@contextmanager
def _no_opencv_threads() -> Iterator[None]:
    """Within this context OpenCV has no threads, for which a forked worker would wait forever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # spawned workers do not inherit it
    end_with_parent()
    # the parent handles Ctrl-C; otherwise every worker would print a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
