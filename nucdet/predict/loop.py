"""The work of one process of a prediction run: its share of the images, a few at a time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from detectron2.utils import comm
from tqdm import tqdm

from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.export import ReportFacts
from nucdet.predict import Prediction, Segmenter
from nucdet.predict.drawing import read_for_drawing
from nucdet.predict.files import InputFile, RecordStore
from nucdet.predict.formats import ImageOutputs, output_paths
from nucdet.predict.outputs import make_record, write_image_outputs, write_shared_outputs

# what is predicted together at most
_TOGETHER = 8
_PIXELS_TOGETHER = 1 << 22

_Opened = tuple[InputFile, ImageWindows]


@dataclass(frozen=True)
class Job:
    """A checked prediction run, the same in every process.

    Attributes:
        files: all images, sorted.
        output: an existing folder; several machines must share it.
        formats: some of :data:`FORMATS`.
        config_file, opts: of the network; None: the default model.
        diameter: see :meth:`nucdet.predict.Segmenter.predict`.
        pixel_size: µm, or None.
        page: of files with several pages, or None.
        resume: leave out what is done.
        settings: a text that differs where results would.
        facts: what the report says about the settings.
    """

    files: tuple[InputFile, ...]
    output: Path
    formats: tuple[str, ...]
    config_file: str | None = None
    opts: tuple[str, ...] = ()
    diameter: float | str | None = None
    pixel_size: float | None = None
    page: int | None = None
    resume: bool = False
    settings: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def records(self) -> RecordStore:
        """What is done."""
        return RecordStore(self.output, self.settings)

    def paths(self, file: InputFile) -> dict[str, Path]:
        """Where the files of an image go, by format."""
        return output_paths(self.output, file.name, self.formats)


def predict_images(job: Job, open_segmenter: Callable[[], Segmenter]) -> None:
    """Predict this process's share of the images; the main process writes the shared files.

    An image that cannot be read or predicted is named on the screen, in the summary and in the
    report, and the rest goes on.

    Args:
        job: what to do.
        open_segmenter: called once there is something to predict.

    Raises:
        OSError: an output cannot be written.
    """
    store = job.records()
    share = job.files[comm.get_rank() :: comm.get_world_size()]
    if job.resume:
        share = [file for file in share if not store.is_done(file, job.paths(file).values())]
    if share:
        segmenter = open_segmenter()
        with tqdm(total=len(share), desc="predicting", unit="image", disable=_no_bar()) as bar:
            for images in _groups(_opened(share, job, segmenter, bar)):
                for image in _predicted(images, job, segmenter, bar):
                    _write(*image, job, segmenter.class_names)
                    bar.update()
    comm.synchronize()
    if comm.is_main_process():
        records = [store.record(file) for file in job.files]
        errors = [(file.file_name, store.error(file)) for file in job.files]
        failures = {name: error for name, error in errors if error}
        facts = ReportFacts(job.pixel_size, dict(job.facts), failures)
        write_shared_outputs(job.output, job.formats, [r for r in records if r], facts)


def _opened(
    files: Iterable[InputFile], job: Job, segmenter: Segmenter, bar: tqdm
) -> Iterator[_Opened]:
    for file in files:
        try:
            source = segmenter.open(file.path, job.page)
        except (InputError, OSError, MemoryError) as error:
            _failed(file, error, job, bar)
        else:
            yield file, source


def _groups(images: Iterable[_Opened]) -> Iterator[list[_Opened]]:
    """Images that are predicted together: a few, so that little is lost or held in memory."""
    group: list[_Opened] = []
    pixels = 0
    for file, source in images:
        more = math.prod(source.size)
        if group and (len(group) == _TOGETHER or pixels + more > _PIXELS_TOGETHER):
            yield group
            group, pixels = [], 0
        group.append((file, source))
        pixels += more
    if group:
        yield group


def _predicted(
    images: list[_Opened], job: Job, segmenter: Segmenter, bar: tqdm
) -> Iterator[tuple[InputFile, Prediction, np.ndarray, pd.DataFrame]]:
    """The images with prediction, image to draw on and table; without those that fail."""

    def show(done: int, tiles: int) -> None:
        bar.set_postfix_str(f"{images[0][0].file_name}: tile {done} of {tiles}")

    files, sources = zip(*images, strict=True)
    try:
        predictions = segmenter.predict_windows(sources, job.diameter, show)
        # a damaged part of a large image may show only now
        drawn = [read_for_drawing(prediction.source) for prediction in predictions]
        tables = [prediction.table(job.pixel_size) for prediction in predictions]
    except (InputError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if len(images) == 1:
            _failed(files[0], error, job, bar)
            return
    else:
        yield from zip(files, predictions, drawn, tables, strict=True)
        return
    # here the error and what it holds in memory are gone
    for image in images:
        yield from _predicted([image], job, segmenter, bar)


def _write(
    file: InputFile,
    prediction: Prediction,
    image: np.ndarray,
    table: pd.DataFrame,
    job: Job,
    class_names: Sequence[str],
) -> None:
    store = job.records()
    # from here to the end the image counts as not done
    store.forget(file)
    record = make_record(file.name, file.file_name, prediction, image, class_names)
    outputs = ImageOutputs(record, prediction.pred_masks, table, image, job.pixel_size)
    write_image_outputs(job.paths(file), outputs)
    store.save(file, record)


def _failed(file: InputFile, error: Exception, job: Job, bar: tqdm) -> None:
    reason = _reason(error, file)
    tqdm.write(f"failed: {file.path}: {reason}", file=sys.stderr)
    job.records().save(file, None, reason)
    bar.update()


def _reason(error: Exception, file: InputFile) -> str:
    """One line without the path of the image, which is said beside it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "not enough memory for this image"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.removeprefix(f"{file.path}: ").split())


def _no_bar() -> bool | None:
    """tqdm's ``disable``: None leaves the bar out where the screen is no terminal."""
    return None if comm.is_main_process() else True
