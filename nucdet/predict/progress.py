"""How far one process of a prediction run is: its bar on the screen, and the images that failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from detectron2.utils import comm
from tqdm import tqdm

from nucdet.predict.files import InputFile
from nucdet.predict.records import RecordStore


class Progress:
    """A bar of the main process, and the record of failures of any.

    Example::

        with Progress(files, job.records()) as progress:
            progress.done()
    """

    def __init__(self, files: Sequence[InputFile], store: RecordStore):
        """
        Args:
            files: that this process predicts.
            store: where failures are kept.
        """
        self._store = store
        # tqdm's None leaves the bar out where the screen is no terminal
        off = None if comm.is_main_process() else True
        self._bar = tqdm(total=len(files), desc="predicting", unit="image", disable=off)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def expect(self, planes: int) -> None:
        """One of the files is a stack, of which so many planes are to be predicted."""
        self._bar.total += planes - 1
        self._bar.refresh()

    def done(self, file: InputFile, where: str = "") -> None:
        """One image is written, or a plane of one."""
        self._bar.update()
        if where:
            self._bar.set_postfix_str(f"{file.file_name}: {where}")

    def failed(self, file: InputFile, error: Exception, where: str = "", planes: int = 1) -> None:
        """One image cannot be read or predicted: say why on the screen, and keep it.

        Args:
            file: the image.
            error: why.
            where: which plane of a stack.
            planes: so many are left out.
        """
        reason = ": ".join(filter(None, [where, _reason(error, file)]))
        tqdm.write(f"failed: {file.path}: {reason}", file=sys.stderr)
        self._store.save(file, None, reason)
        self._bar.update(planes)

    def show_tiles(self, file: InputFile, where: str, done: int, tiles: int) -> None:
        """So many tiles of a large image are predicted."""
        place = ", ".join(filter(None, [where, f"tile {done} of {tiles}"]))
        self._bar.set_postfix_str(f"{file.file_name}: {place}")


def _reason(error: Exception, file: InputFile) -> str:
    """One line without the path of the image, which stands before it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "not enough memory for this image"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.removeprefix(f"{file.path}: ").split())
