"""Converts any images with label maps to COCO JSON; for names and formats see
:mod:`.label_files`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from nucdet.data.conversion.coco_json import ImageEntry, annotations_of
from nucdet.data.conversion.label_files import find_images, left_in_subfolders, pair_files
from nucdet.data.conversion.own_data import OwnData
from nucdet.data.conversion.plane_copies import write_copy
from nucdet.data.conversion.report import ConversionReport, Problem
from nucdet.data.conversion.tiles import borders_of
from nucdet.data.conversion.workers import ImageResult, check_workers
from nucdet.data.image_kinds import image_kind
from nucdet.data.io.label_maps import read_label_map
from nucdet.data.io.planes import open_windows
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks
from nucdet.structures.crops import boxes_of_label_map

# A few labels with many pieces each are classes of pixels (nucleus, border), not nuclei.
_FEW_LABELS = 3
_MANY_PIECES = 5
# Boxes of labels with so many times the area of the image: each is scattered over all of it.
_SCATTERED = 20
# A second piece of this share of the largest is another nucleus, not a pixel that went astray.
_PIECE = 0.25
_SHARED = (
    "contain a number that several pieces share, which become one nucleus (binary masks, or more "
    "than 255 nuclei in 8 bits?); expected another number for each nucleus"
)
_NO_BACKGROUND = (
    "have no pixel 0, so that their background becomes a nucleus; expected 0 for background"
)
_BACKGROUND = (
    "contain a number that reaches all four edges of the image, so that it may be a background, "
    "which becomes a nucleus; expected 0 for background"
)


@dataclass(frozen=True)
class _Task:
    """An image and its label map, None without ground truth."""

    image: Path
    labels: Path | None


def convert_labels(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    own: OwnData,
    class_name: str = "nucleus",
    workers: int = 1,
    skip_invalid: bool = False,
) -> dict[str, list[ImageEntry]]:
    """Write ``annotations/instances_<split>.json`` and dataset.yaml into ``own.folder``.

    Args:
        images: folder of image files.
        labels: folder of label maps; None: there is no ground truth.
        own: name, split, and which plane of each file is read.
        class_name: name of the only class.
        workers: number of processes.
        skip_invalid: leave out invalid files instead of failing.

    Returns:
        The images of each split.

    Raises:
        FileNotFoundError: there is no such folder or file.
        InputError: invalid files, names that do not match, no image left, or fewer than one worker.
    """
    check_workers(workers)
    report = ConversionReport(skip_invalid)
    if labels is None:
        report.remark(
            f"no --labels, so the images of {' and '.join(own.splits)} have no ground truth"
        )
        files, problems = find_images(images)
        tasks = [_Task(file, None) for file in files]
        report.add(problems)
    else:
        pairing = pair_files(images, labels)
        tasks = [_Task(pair.image, pair.labels) for pair in pairing.pairs]
        report.add(pairing.problems)
        for remark in pairing.remarks:
            report.remark(remark)
    if remark := left_in_subfolders(images, labels):
        report.remark(remark)
    return own.convert(tasks, partial(_convert, own), [class_name], report, workers)


def _convert(own: OwnData, staging: Path, task: _Task) -> ImageResult:
    """Read, check and encode one image; errors are returned as problems."""
    try:
        source = open_windows(task.image, own.choice)
        image = source.read(source.whole())
        masks, doubts = _masks(task.labels, source)
    except (InputError, OSError) as error:
        return ImageResult([_problem(task, error)])
    copy = write_copy(source, staging)
    entry = ImageEntry(
        own.file_name(task.image), *image.shape[:2], image_kind(image), annotations_of(masks)
    )
    return ImageResult([], entry, borders_of(image), doubts=doubts, copy=copy)


def _masks(labels: Path | None, source: ImageWindows) -> tuple[CroppedMasks, list[str]]:
    """The nuclei of the label map of an image, and what is doubtful about it."""
    if labels is None:
        return CroppedMasks.empty(source.size), []
    values = read_label_map(labels, source.size, source.place, source.stack_size)
    _check_boxes(labels, values)  # the masks of scattered labels would not fit into the memory
    masks = CroppedMasks.from_label_map(values)
    pieces = [_areas_of_pieces(crop) for crop in masks.crops]
    count = sum(map(len, pieces))
    if 0 < len(masks) <= _FEW_LABELS and count >= _MANY_PIECES * len(masks):
        raise InputError(
            f"{labels}: {len(masks)} labels in {count} separate pieces: a mask of kinds of "
            "pixels; expected another number for each nucleus (scipy.ndimage.label numbers the "
            "pieces, where no nuclei touch)"
        )
    height, width = source.size
    doubts = []
    if values.all():
        doubts.append(_NO_BACKGROUND)
    elif (masks.boxes == (0, 0, width, height)).all(axis=1).any():
        doubts.append(_BACKGROUND)
    if any(len(areas) > 1 and areas[-2] >= _PIECE * areas[-1] for areas in pieces):
        doubts.append(_SHARED)
    return masks, doubts


def _check_boxes(path: Path, values: np.ndarray) -> None:
    """Raise InputError if the pixels of each label are scattered over the image."""
    _, boxes = boxes_of_label_map(values)
    areas = sum((y.stop - y.start) * (x.stop - x.start) for _, (y, x) in boxes)
    if areas > _SCATTERED * values.size:
        raise InputError(
            f"{path}: its {len(boxes)} numbers are scattered over the whole image, as grey values "
            "are, or numbers that several nuclei share (8 bits have only 255); expected a label "
            "map with another number for each nucleus"
        )


def _areas_of_pieces(mask: np.ndarray) -> np.ndarray:
    """The areas of the pieces of a mask (pixels at a corner belong together), ascending."""
    pieces, _ = ndimage.label(mask, np.ones((3, 3), bool))
    return np.sort(np.bincount(pieces.ravel())[1:])


def _problem(task: _Task, error: Exception) -> Problem:
    of_labels = task.labels is not None and str(error).startswith(f"{task.labels}: ")
    return Problem.of_file(task.labels if of_labels else task.image, error)
