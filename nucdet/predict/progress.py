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

    def done(self) -> None:
        """One image is written."""
        self._bar.update()

    def failed(self, file: InputFile, error: Exception) -> None:
        """One image cannot be read or predicted: say why on the screen, and keep it."""
        reason = _reason(error, file)
        tqdm.write(f"failed: {file.path}: {reason}", file=sys.stderr)
        self._store.save(file, None, reason)
        self._bar.update()

    def show_tiles(self, file: InputFile, done: int, tiles: int) -> None:
        """So many tiles of a large image are predicted."""
        self._bar.set_postfix_str(f"{file.file_name}: tile {done} of {tiles}")


def _reason(error: Exception, file: InputFile) -> str:
    """One line without the path of the image, which stands before it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "not enough memory for this image"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.removeprefix(f"{file.path}: ").split())
