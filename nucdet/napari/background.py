"""Work on a thread of its own, so that the viewer stays responsive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import GeneratorWorkerSignals, WorkerBase

from nucdet.napari.progress import Cancelled, Progress


class Background(WorkerBase):
    """Calls ``function(progress)``; its reports arrive at the signal ``yielded`` as a tuple.

    ``quit()`` lets the next report raise :class:`Cancelled` inside the function. For
    :func:`napari.qt.threading.create_worker`.
    """

    def __init__(self, function: Callable[[Progress], Any]):
        super().__init__(SignalsClass=GeneratorWorkerSignals)
        self._function = function

    def work(self) -> Any:
        """Runs on the other thread."""
        return self._function(self._report)

    def _report(self, done: int, total: int, text: str) -> None:
        if self.abort_requested:
            raise Cancelled
        self.yielded.emit((done, total, text))
