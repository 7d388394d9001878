"""The progress of one process of a prediction run, and the images that failed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.utils import comm

from nucdet.predict.earlier import fail
from nucdet.predict.inputs import InputFile
from nucdet.predict.records import RecordStore
from nucdet.progress import ProgressBar


class Progress:
    """Shows the progress of the main process, and records the images that fail in any process.

    Example::

        with Progress(files, job.store) as progress:
            progress.done(files[0])
    """

    def __init__(self, files: Sequence[InputFile], store: RecordStore):
        """
        Args:
            files: the files that this process predicts.
            store: where failures are recorded.
        """
        self._store = store
        shown = comm.is_main_process()
        self._bar: ProgressBar = ProgressBar(name="predicting", total=len(files), show=shown)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def expect(self, planes: int) -> None:
        """Note that one of the files is a stack with this many planes to predict."""
        self._bar.grow(planes - 1)

    def done(self, file: InputFile, where: str = "") -> None:
        """Count an image, or a plane of a stack, as done."""
        self._bar.update()
        if where:
            self._bar.note(f"{file.file_name}: {where}")

    def failed(self, file: InputFile, error: Exception, where: str = "", planes: int = 1) -> None:
        """Report on the screen that an image cannot be read or predicted, and record the reason.

        Args:
            file: the image.
            error: the reason.
            where: the plane of a stack, in words.
            planes: the number of planes that are left out.
        """
        reason = ": ".join(filter(None, [where, _reason(error, file)]))
        self._bar.write(f"failed: {file.path}: {reason}")
        fail(self._store, file, reason)
        self._bar.update(planes)

    def show_tiles(self, file: InputFile, where: str, done: int, tiles: int) -> None:
        """Show how many tiles of a large image have been predicted."""
        place = ", ".join(filter(None, [where, f"tile {done} of {tiles}"]))
        self._bar.note(f"{file.file_name}: {place}")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: in Python or numpy, or in PyTorch on a GPU or CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # PyTorch has no exception class for it on a CPU
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _reason(error: Exception, file: InputFile) -> str:
    """The error in one line, without the path of the image, which the caller prints before it."""
    if is_out_of_memory(error):
        return "not enough memory for this image"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.removeprefix(f"{file.path}: ").split())
