"""A prediction run from image files to output files, as ``nucdet-predict`` does it.

The steps for an image, with the modules of nucdet/predict and their functions:

    find files            inputs.find_inputs, called by job.prepare
    read                  reading.read_images
    plan tiles            planning.plan_tiles          ┐
    network               finding.predict_tiles        │ segmenter.Segmenter.predict_windows
    join tiles            joining.join_tiles           │
    eliminate overlaps    OverlapElimination           ┘
    write outputs         outputs.make_outputs (measure, thumbnail), write_outputs;
                          for stacks stack_outputs.StackWriter, linking.PlaneLinks
    report                outputs.write_shared_outputs
"""

from __future__ import annotations

import argparse
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

# largest number of images that a warning on the screen names; summary.csv lists all of them
_NAMED = 5


def predict(options: PredictOptions, devices: argparse.Namespace) -> int:
    """Predict the images that the options name, on as many processes as the devices say.

    Args:
        options: what to predict and write.
        devices: the arguments of :func:`nucdet.arguments.add_devices`.

    Returns:
        The number of images that could not be predicted.

    Raises:
        InputError, OSError: raised before any process starts, as far as possible.
    """
    check_devices(devices)
    job = prepare(options)
    try:
        # processes that have finished wait for the others, however long that takes
        run_processes(_run_process, devices, job, timeout=timedelta(days=30))
    except KeyboardInterrupt:
        done = sum(job.store.outcome(file).is_predicted for file in job.files)
        print(
            f"{done} of {len(job.files)} images are done; --resume continues with the rest",
            file=sys.stderr,
        )
        raise
    failed = _count_failed(job)
    print(f"{len(job.files) - failed} images predicted, {failed} failed: {printable(job.output)}")
    return failed


def _count_failed(job: Job) -> int:
    return sum(job.store.outcome(file).error is not None for file in job.files)


def _print_warnings(job: Job) -> None:
    """Print a line for each warning, with the first images that it applies to."""
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
    options = job.options
    predict_images(job, lambda: Segmenter(options.config_file, overrides=options.overrides))


def predict_images(job: Job, open_segmenter: Callable[[], Segmenter]) -> None:
    """Predict this process's share of the images; the main process writes the shared files.

    An image that cannot be read or predicted is reported on the screen, in the summary and in the
    report, and the run continues with the others.

    Args:
        job: the checked run.
        open_segmenter: loads the network; called only if there is something to predict.

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
    """Predict a group of images, and leave out those that fail.

    If a group fails, its images are tried one by one. No planes of a stack are predicted after the
    first that fails.

    Yields:
        Each image with the data for its files.
    """
    if len(images) == 1 and images[0].stack is not None and images[0].stack.has_failed:
        return
    show_tiles = partial(progress.show_tiles, images[0].file, images[0].where)
    try:
        sources = [image.source for image in images]
        predictions = segmenter.predict_windows(sources, options.diameter, show_tiles)
        # a damaged part of a large image may be discovered only here
        outputs = [
            make_outputs(image.file, prediction, options)
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
    # outside the except block, because there the error would keep its objects in memory
    for image in images:
        yield from _predicted([image], options, segmenter, progress)


def _give_up(image: OpenImage, error: Exception, progress: Progress) -> None:
    left = 1
    if image.stack is not None:
        image.stack.has_failed, left = True, image.stack.left
    progress.failed(image.file, error, image.where, left)
