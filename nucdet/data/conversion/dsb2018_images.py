"""Converts one DSB2018 image with its masks to a COCO entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucdet.data.conversion.coco_json import ImageEntry, annotations_of
from nucdet.data.conversion.kaggle_csv import CsvTruth
from nucdet.data.conversion.report import IMAGE, Problem
from nucdet.data.conversion.tiles import borders_of
from nucdet.data.conversion.workers import ImageResult
from nucdet.data.image_kinds import image_kind
from nucdet.data.io.reading import read_image, read_mask_window
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks


@dataclass
class ImageTask:
    """The files and csv rows of one image; without mask files and rows it has no ground truth."""

    id: str
    root: Path
    image_file: Path
    mask_files: list[Path] = field(default_factory=list)
    csv_truth: CsvTruth | None = None


@dataclass
class OverlapResult(ImageResult):
    """An image, and how much its masks overlap."""

    overlapping: int = 0  # masks that share a pixel with another
    shared_pixels: int = 0


def convert_image(task: ImageTask) -> OverlapResult:
    """Read, check and encode one image; errors are returned as problems."""
    try:
        image = read_image(task.image_file)
    except (InputError, OSError) as error:
        return OverlapResult([Problem.of_file(task.image_file, error)])
    size = image.shape[:2]
    if task.csv_truth:
        masks, problems = _masks_of_csv(task.csv_truth, size)
    else:
        masks, problems = _masks_of_files(task.mask_files, size)
    if any(problem.left_out == IMAGE for problem in problems):
        return OverlapResult(problems)
    entry = ImageEntry(
        file_name=task.image_file.relative_to(task.root).as_posix(),
        height=size[0],
        width=size[1],
        kind=image_kind(image),
        annotations=annotations_of(masks),
    )
    return OverlapResult(problems, entry, borders_of(image), *count_overlaps(masks))


def count_overlaps(masks: CroppedMasks) -> tuple[int, int]:
    """How many masks share a pixel with another one, and how many pixels are shared."""
    cover = np.zeros(masks.image_size, dtype=np.uint16)
    windows = []
    for (y, x), crop in zip(masks.offsets, masks.crops, strict=True):
        windows.append(cover[y : y + crop.shape[0], x : x + crop.shape[1]])
        windows[-1] += crop
    shared = int(np.count_nonzero(cover > 1))
    if not shared:
        return 0, 0
    touching = [(w[crop] > 1).any() for w, crop in zip(windows, masks.crops, strict=True)]
    return sum(map(int, touching)), shared


def _masks_of_files(files: list[Path], size: tuple[int, int]) -> tuple[CroppedMasks, list[Problem]]:
    """The masks of an image; an invalid mask file is a problem that leaves out the whole image.

    A nucleus without its mask would be trained as background. An all-zero mask concerns no pixel,
    so only the mask itself is left out.
    """
    offsets, crops, problems = [], [], []
    for file in files:
        try:
            offset, crop, mask_size = read_mask_window(file)
        except (InputError, OSError) as error:
            problems.append(Problem.of_file(file, error))
            continue
        if mask_size != size:
            what = f"the mask is {_text(mask_size)} (height x width), but its image {_text(size)}"
            problems.append(Problem(str(file), what, IMAGE))
            continue
        if not crop.size:
            what = "the mask is all zero, expected the pixels of a nucleus"
            problems.append(Problem(str(file), what, "the mask"))
            continue
        offsets.append(offset)
        crops.append(crop)
    return CroppedMasks(np.array(offsets).reshape(-1, 2), crops, size), problems


def _masks_of_csv(truth: CsvTruth, size: tuple[int, int]) -> tuple[CroppedMasks, list[Problem]]:
    """Decode the rows of an image; Kaggle uses an empty code for an image without nuclei."""
    problems = []
    decoded = []
    for code, stated, row in zip(truth.codes, truth.sizes, truth.rows, strict=True):
        if stated != tuple(map(str, size)):
            what = f"states {_text(stated)} (height x width), but the image is {_text(size)}"
            problems.append(Problem(row, what, IMAGE))
        elif code.strip():
            try:
                decoded.append(CroppedMasks.from_kaggle_rle([code], size))
            except InputError as error:
                # the index of the mask, always 0, does not help the user
                what = str(error).removeprefix("mask 0: ")
                problems.append(Problem(row, f"EncodedPixels: {what}", IMAGE))
    return CroppedMasks.cat([CroppedMasks.empty(size), *decoded]), problems


def _text(size: tuple[int, int] | tuple[str, str]) -> str:
    return f"{size[0]}x{size[1]}"
