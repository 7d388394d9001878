"""A prediction run from files to files; what ``nucdet-predict`` runs.

The way of an image, each step a function of one file:

    find files            files.find_inputs, called by job.prepare
    read                  reading.read_images
    plan tiles            planning.plan_tiles          ┐
    network               finding.predict_tiles        │ segmenter.Segmenter.predict_windows
    join tiles            joining.join_tiles           │
    eliminate overlaps    OverlapElimination           ┘
    write outputs         outputs.make_outputs (measure, thumbnail), write_outputs;
                          of stacks stack_outputs.StackWriter
    report                outputs.write_shared_outputs
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from detectron2.utils import comm

from nucdet.errors import InputError
from nucdet.files import printable
from nucdet.predict.formats import ImageOutputs
from nucdet.predict.job import Job, prepare
from nucdet.predict.options import PredictOptions
from nucdet.predict.outputs import make_outputs, write_outputs, write_shared_outputs
from nucdet.predict.progress import Progress, is_out_of_memory
from nucdet.predict.reading import OpenImage, read_images
from nucdet.predict.segmenter import Segmenter
from nucdet.processes import check_devices, run_processes

# images that a warning on the screen names; summary.csv has all
_NAMED = 5


def predict(options: PredictOptions, devices: argparse.Namespace) -> int:
    """Predict the images that the options name, on as many processes as the devices say.

    Args:
        options: what to predict and write.
        devices: the arguments of :func:`nucdet.arguments.add_devices`.

    Returns:
        How many images could not be predicted.

    Raises:
        InputError, OSError: found before any process starts, as far as that is possible.
    """
    check_devices(devices)
    job = prepare(options)
    try:
        # a process may wait as long as another works
        run_processes(_run_process, devices, job, timeout=timedelta(days=30))
    except KeyboardInterrupt:
        done = sum(job.store.outcome(file).is_predicted for file in job.files)
        print(
            f"{done} of {len(job.files)} images are done; --resume goes on with the rest",
            file=sys.stderr,
        )
        raise
    failed = _count_failed(job)
    print(f"{len(job.files) - failed} images predicted, {failed} failed: {printable(job.output)}")
    return failed


def _count_failed(job: Job) -> int:
    return sum(job.store.outcome(file).error is not None for file in job.files)


def _print_warnings(job: Job) -> None:
    """A line for each warning, with the first images that it is of."""
    warned: dict[str, list[str]] = {}
    images = 0
    for record in job.store.records(job.files):
        images += 1
        if record.warning:
            warned.setdefault(record.warning, []).append(record.title)
    images += _count_failed(job)
    for warning, names in warned.items():
        more = f", … ({len(names)} of {images})" if len(names) > _NAMED else ""
        print(f"{warning}: {', '.join(names[:_NAMED])}{more}")


def _run_process(job: Job) -> None:
    # what Detectron2's code makes torch say tells a user nothing and breaks the progress bar
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    options = job.options
    predict_images(job, lambda: Segmenter(options.config_file, overrides=options.overrides))


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
    files = job.left_to_do(comm.get_rank(), comm.get_world_size())
    if files:
        segmenter = open_segmenter()
        with Progress(files, job.store) as progress:
            for images in read_images(files, job, segmenter, progress):
                for image, outputs in _predicted(images, job.options, segmenter, progress):
                    if image.stack is None:
                        write_outputs(image.file, outputs, job)
                    else:
                        image.stack.write(outputs)
                    progress.done(image.file, image.where)
    comm.synchronize()
    if comm.is_main_process():
        write_shared_outputs(job)
        _print_warnings(job)


def _predicted(
    images: list[OpenImage], options: PredictOptions, segmenter: Segmenter, progress: Progress
) -> Iterator[tuple[OpenImage, ImageOutputs]]:
    """The images with what is to be written of them; without those that fail.

    Where a group fails, its images are tried one by one. A stack ends at its first plane that
    fails.
    """
    if len(images) == 1 and images[0].stack is not None and images[0].stack.has_failed:
        return
    show_tiles = partial(progress.show_tiles, images[0].file, images[0].where)
    try:
        sources = [image.source for image in images]
        predictions = segmenter.predict_windows(sources, options.diameter, show_tiles)
        # a damaged part of a large image may show only now
        outputs = [
            make_outputs(image.file, prediction, segmenter.class_names, options)
            for image, prediction in zip(images, predictions, strict=True)
        ]
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        if len(images) == 1:
            _give_up(images[0], error, progress)
            return
    else:
        yield from zip(images, outputs, strict=True)
        return
    # here the error and what it holds in memory are gone
    for image in images:
        yield from _predicted([image], options, segmenter, progress)


def _give_up(image: OpenImage, error: Exception, progress: Progress) -> None:
    left = 1
    if image.stack is not None:
        image.stack.has_failed, left = True, image.stack.left
    progress.failed(image.file, error, image.where, left)
