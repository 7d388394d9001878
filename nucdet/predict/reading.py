"""Images from files, a few at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.predict.files import InputFile
from nucdet.predict.options import PredictOptions
from nucdet.predict.progress import Progress
from nucdet.predict.segmenter import Segmenter

# at most this many images, and this many pixels, are predicted together
_TOGETHER = 8
_PIXELS_TOGETHER = 1 << 22


class OpenImage(NamedTuple):
    """An image file and its pixels, which are read as they are needed."""

    file: InputFile
    source: ImageWindows


def read_images(
    files: Iterable[InputFile], options: PredictOptions, segmenter: Segmenter, progress: Progress
) -> Iterator[list[OpenImage]]:
    """Open images in groups that are predicted together, each small enough for memory.

    Args:
        files: the images.
        options: say which plane of a file is read.
        segmenter: its config says how stored values become 8 bits.
        progress: records the files that cannot be read; the run goes on with the rest.

    Yields:
        Groups of at least one image.
    """
    group: list[OpenImage] = []
    pixels = 0
    for image in _opened(files, options, segmenter, progress):
        more = math.prod(image.source.size)
        if group and (len(group) == _TOGETHER or pixels + more > _PIXELS_TOGETHER):
            yield group
            group, pixels = [], 0
        group.append(image)
        pixels += more
    if group:
        yield group


def _opened(
    files: Iterable[InputFile], options: PredictOptions, segmenter: Segmenter, progress: Progress
) -> Iterator[OpenImage]:
    for file in files:
        try:
            source = segmenter.open(file.path, options.choice)
        except (InputError, OSError, MemoryError) as error:
            progress.failed(file, error)
        else:
            yield OpenImage(file, source)
