"""The progress of one process of a prediction run: a bar on the screen, and images that failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from detectron2.utils import comm
from tqdm import tqdm

from nucdet.predict.files import InputFile
from nucdet.predict.records import RecordStore


class Progress:
    """Shows a bar in the main process, and records the images that fail in any process.

    Example::

        with Progress(files, job.records()) as progress:
            progress.done()
    """

    def __init__(self, files: Sequence[InputFile], store: RecordStore):
        """
        Args:
            files: the files that this process predicts.
            store: where failures are recorded.
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
        """Count an image whose files are written."""
        self._bar.update()

    def failed(self, file: InputFile, error: Exception) -> None:
        """Name an image that cannot be read or predicted on the screen, and record the reason."""
        reason = _reason(error, file)
        tqdm.write(f"failed: {file.path}: {reason}", file=sys.stderr)
        self._store.save(file, None, reason)
        self._bar.update()

    def show_tiles(self, file: InputFile, done: int, tiles: int) -> None:
        """Show how many tiles of a large image are predicted."""
        self._bar.set_postfix_str(f"{file.file_name}: tile {done} of {tiles}")


def _reason(error: Exception, file: InputFile) -> str:
    """The error in one line, without the path of the image, which is printed before it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "not enough memory for this image"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.removeprefix(f"{file.path}: ").split())
