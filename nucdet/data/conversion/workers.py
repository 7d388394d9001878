"""Images spread over processes, and what becomes of each."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
    """What became of an image: none where it had to be left out.

    Attributes:
        problems: what is bad.
        image: ready to be written.
        borders: by which its neighbors are found.
    """

    problems: list[Problem]
    image: ImageEntry | None = None
    borders: Borders | None = None


def check_workers(workers: int) -> None:
    """Complain about a number of processes below 1.

    Raises:
        InputError: it is.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: expected 1 or more")


def map_images(
    convert: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int
) -> list[_Result]:
    """``convert`` of all tasks in ``workers`` processes, in order, with a progress bar."""
    if workers == 1:
        return list(ProgressBar(map(convert, tasks), "converting", len(tasks)))
    # a forked worker has torch and OpenCV loaded already; loading them takes a worker seconds
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with _no_opencv_threads(), context.Pool(workers, initializer=_start_worker) as pool:
        results = pool.imap(convert, tasks, chunksize=4)
        return list(ProgressBar(results, "converting", len(tasks)))


@contextmanager
def _no_opencv_threads() -> Iterator[None]:
    """A forked worker would wait forever for threads that OpenCV started before the fork."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # for spawned ones
    end_with_parent()
    # Ctrl-C is the parent's to answer, or every worker prints a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
