"""Runs work on another thread, so that the viewer stays responsive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import GeneratorWorkerSignals, WorkerBase

from nucdet.napari.progress import Cancelled, Progress


class Background(WorkerBase):
    """A worker for :func:`napari.qt.threading.create_worker` that calls ``function(progress)``.

    Each call of ``progress`` emits the signal ``yielded`` with the tuple (done, total, text). After
    ``quit()`` the next call raises :class:`Cancelled` inside the function.
    """

    def __init__(self, function: Callable[[Progress], Any]):
        """
        Args:
            function: runs on the other thread; its result is emitted as ``returned``.
        """
        super().__init__(SignalsClass=GeneratorWorkerSignals)
        self._function = function

    def work(self) -> Any:
        """Called by napari on the other thread."""
        return self._function(self._report)

    def _report(self, done: int, total: int, text: str) -> None:
        if self.abort_requested:
            raise Cancelled
        self.yielded.emit((done, total, text))
