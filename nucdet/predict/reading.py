"""Opens image files in small groups that are predicted together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.predict.inputs import InputFile
from nucdet.predict.job import Job
from nucdet.predict.progress import Progress
from nucdet.predict.segmenter import Segmenter
from nucdet.predict.stack_outputs import StackWriter

# at most this many images, and this many pixels, are predicted together
_TOGETHER = 8
_PIXELS_TOGETHER = 1 << 22


class OpenImage(NamedTuple):
    """An opened image file, or a plane of one; its pixels are read when they are needed."""

    file: InputFile
    source: ImageWindows
    stack: StackWriter | None = None  # writes the outputs of a plane; None: a single image
    where: str = ""  # the plane in words


def read_images(
    files: Iterable[InputFile], job: Job, segmenter: Segmenter, progress: Progress
) -> Iterator[list[OpenImage]]:
    """Open images in groups that are predicted together, each small enough for memory.

    Args:
        files: the images.
        job: says which planes of a file are read.
        segmenter: its config says how stored values become 8 bits.
        progress: records files that cannot be read; the run continues with the others.

    Yields:
        Groups of one or more images.
    """
    group: list[OpenImage] = []
    pixels = 0
    for file in files:
        for image in _opened(file, job, segmenter, progress):
            more = math.prod(image.source.size)
            if group and (len(group) == _TOGETHER or pixels + more > _PIXELS_TOGETHER):
                yield group
                group, pixels = [], 0
            group.append(image)
            pixels += more
    if group:
        yield group


def _opened(
    file: InputFile, job: Job, segmenter: Segmenter, progress: Progress
) -> Iterator[OpenImage]:
    """The planes of a file that are not done yet; usually the file has only one."""
    try:
        planes = segmenter.open(file.path, job.options.choice, dict(file.channels))
        whole = None if planes.axes else planes[0]
    except (InputError, OSError, MemoryError) as error:
        progress.failed(file, error)
        return
    if whole is not None:
        yield OpenImage(file, whole)
        return
    stack = StackWriter(file, planes, job)
    progress.expect(stack.left)
    if not stack.left:  # a new format is asked for, or the run was killed just before finishing
        stack.finish()
    for number in range(stack.done, len(planes)):
        if stack.has_failed:
            return
        where = f"plane {number + 1} of {len(planes)}"
        try:
            source = planes[number]
        except (InputError, OSError, MemoryError) as error:
            # earlier planes in the current group are still predicted
            progress.failed(file, error, where, len(planes) - number)
            return
        yield OpenImage(file, source, stack, where)
