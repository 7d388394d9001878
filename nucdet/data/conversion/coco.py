"""Checks a user's COCO JSON and writes it in nucdet's form.

It may contain polygons, RLE (compressed or not), crowd regions, several classes, and category ids
in any order and with gaps. All annotations must fit into memory.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from nucdet.data.coco_entries import (
    check_categories,
    check_file_name,
    check_id,
    check_image_id,
    check_size,
)
from nucdet.data.conversion.coco_json import ImageEntry
from nucdet.data.conversion.own_data import OwnData
from nucdet.data.conversion.plane_copies import write_copy
from nucdet.data.conversion.report import IMAGE, ConversionReport, Problem
from nucdet.data.conversion.segmentations import read_outlines
from nucdet.data.conversion.tiles import borders_of
from nucdet.data.conversion.workers import ImageResult, check_workers
from nucdet.data.image_kinds import image_kind
from nucdet.data.io.bioio_stacks import is_image
from nucdet.data.io.planes import open_windows
from nucdet.data.json_stream import stream_entries
from nucdet.errors import InputError
from nucdet.image_names import NamedFiles, composed


@dataclass
class _Content:
    """The members of a COCO JSON that are used."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    categories: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """An image, its size according to the JSON (None: not stated), and its annotations."""

    image: Path
    size: tuple[int, int] | None
    annotations: list[dict[str, Any]]


def convert_coco(
    json_file: str | os.PathLike[str],
    images: str | os.PathLike[str],
    own: OwnData,
    class_name: str | None = None,
    workers: int = 1,
    skip_invalid: bool = False,
) -> dict[str, list[ImageEntry]]:
    """Write ``annotations/instances_<split>.json`` and dataset.yaml into ``own.folder``.

    Args:
        json_file: COCO JSON.
        images: folder to which its file names are relative; files may also lie directly in it.
        own: name, split, and which plane of each file is read.
        class_name: merges all classes into one of this name; None: the categories of the JSON by
            ascending id.
        workers: number of processes.
        skip_invalid: leave out invalid files and annotations instead of failing.

    Returns:
        The images of each split.

    Raises:
        FileNotFoundError: there is no such folder or file.
        InputError: not such a JSON, invalid files or annotations, two files with look-alike names,
            no image left, or fewer than one worker.
    """
    json_file, folder = Path(json_file), Path(images)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    check_workers(workers)
    report = ConversionReport(skip_invalid)
    content = _read(json_file)
    if crowds := sum(bool(entry.get("iscrowd")) for entry in content.annotations):
        report.remark(
            f"{json_file}: {crowds} of {len(content.annotations)} annotations have iscrowd 1 "
            "(regions of many nuclei), so that training and most scores take them for background; "
            "if each is one nucleus, as where CVAT exports masks, set iscrowd to 0"
        )
    classes, category_of = _categories(json_file, content, class_name, report)
    tasks = _tasks(json_file, folder, content, category_of, report)
    convert_one = partial(_convert, own, json_file)
    return own.convert(tasks, convert_one, classes, report, workers)


def _read(path: Path) -> _Content:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    content = _Content()
    for member, entry in stream_entries(path):
        if member in ("images", "annotations", "categories"):
            if not isinstance(entry, dict):
                raise InputError(
                    f"{path}: found {str(entry)[:40]!r} in {member}; expected objects as COCO has "
                    "them"
                )
            getattr(content, member).append(entry)
    if not content.images:
        raise InputError(f"{path}: it lists no images; expected a COCO JSON with images")
    return content


def _categories(
    path: Path, content: _Content, class_name: str | None, report: ConversionReport
) -> tuple[list[str], dict[Any, int]]:
    """Names of the classes, and the new id, from 1, of each category id."""
    names = check_categories(path, content.categories)
    for number in names:
        if not isinstance(number, int):
            raise InputError(f"{path}: category id {number!r} is text; expected a whole number")
    if class_name is not None:
        ids = set(names) or {check_id(path, e, "category_id") for e in content.annotations}
        return [class_name], dict.fromkeys(ids, 1)
    if not names:
        raise InputError(
            f"{path}: it has no categories; add them, or name the only class with --class-name"
        )
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise InputError(f"{path}: two categories have the name {twice[0]!r}, expected one")
    ordered = sorted(names)
    if ordered != list(range(1, len(ordered) + 1)):
        changes = ", ".join(f"{old} → {new} ({names[old]})" for new, old in enumerate(ordered, 1))
        report.remark(f"{path}: category ids are numbered from 1 without gaps: {changes}")
    return [names[i] for i in ordered], {old: new for new, old in enumerate(ordered, 1)}


def _tasks(
    path: Path,
    folder: Path,
    content: _Content,
    category_of: Mapping[Any, int],
    report: ConversionReport,
) -> list[_Task]:
    """The images whose files exist, with their annotations, in which categories have new ids."""

    def bad(where: str, what: str, left_out: str = IMAGE) -> None:
        report.add([Problem(f"{path}: {where}", what, left_out)])

    by_image, bad_images = _annotations(path, content, category_of, report)
    tasks: dict[Path, _Task] = {}
    ids = set()
    files = NamedFiles(folder)
    for entry in content.images:
        image_id, name = check_image_id(path, entry, ids), check_file_name(path, entry)
        ids.add(image_id)
        file = _find(files, name)
        if file is None:
            bad(f"image {name}", f"its file is not in {folder}")
        elif file in tasks:
            bad(f"image {name}", "its file is listed twice, expected once")
        elif image_id not in bad_images:
            size = check_size(path, entry) if "height" in entry else None
            tasks[file] = _Task(file, size, by_image[image_id])
    for image_id in by_image.keys() - ids:
        count = len(by_image[image_id])
        bad(
            f"{count} annotations", f"of image {image_id!r}, which is not listed", "the annotations"
        )
    stems = Counter(composed(file.stem) for file in tasks)
    if alike := sum(count for count in stems.values() if count > 1):
        report.remark(
            f"{alike} images share their stem with another: label images and csv files, which are "
            "named by it, cannot tell them apart"
        )
    return sorted(tasks.values(), key=lambda task: task.image)


def _annotations(
    path: Path, content: _Content, category_of: Mapping[Any, int], report: ConversionReport
) -> tuple[dict[Any, list[dict[str, Any]]], set[Any]]:
    """The annotations of each image id, with new category ids, and the ids with an unknown one."""
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    bad_images = set()
    for entry in content.annotations:
        image_id = check_id(path, entry, "image_id")
        category = check_id(path, entry, "category_id")
        by_image[image_id].append(entry | {"category_id": category_of.get(category)})
        if category not in category_of:
            expected = ", ".join(map(str, sorted(category_of)))
            what = f"category_id {category!r} is not in categories; expected one of {expected}"
            report.add([Problem(f"{path}: annotation {entry.get('id')}", what, IMAGE)])
            bad_images.add(image_id)
    return by_image, bad_images


def _find(files: NamedFiles, name: str) -> Path | None:
    path = PureWindowsPath(name)  # splits at both separators; on Linux a backslash is a character
    found = (files.find(text) for text in (name, path.as_posix(), path.name))
    return next((place for place in found if place and is_image(place)), None)


def _convert(own: OwnData, json_file: Path, staging: Path, task: _Task) -> ImageResult:
    """Read, check and encode one image; errors are returned as problems."""
    try:
        source = open_windows(task.image, own.choice)
        image = source.read(source.whole())
    except (InputError, OSError) as error:
        return ImageResult([Problem.of_file(task.image, error)])
    size = image.shape[:2]
    if task.size not in (None, size):
        stated, stored = (f"{h}x{w}" for h, w in (task.size, size))
        what = f"is {stored} (height x width), but {json_file} states {stated}"
        return ImageResult([Problem(str(task.image), what, IMAGE)])
    problems: list[Problem] = []
    annotations = []
    outlines = read_outlines(task.annotations, size, "instance")
    for entry in task.annotations:
        where = f"{json_file}: annotation {entry.get('id')} of {task.image.name}"
        try:
            if entry.get("segmentation") == []:  # of data sets for the detection of boxes
                raise InputError("no polygon, expected one")
            outline = next(outlines)
        except InputError as error:
            # an instance whose pixels are unknown would be trained as background
            return ImageResult([*problems, Problem(where, str(error), IMAGE)])
        problems += [Problem(where, what, left_out) for what, left_out in outline.problems]
        if outline.annotation:
            annotations.append({"category_id": entry["category_id"], **outline.annotation})
    entry = ImageEntry(own.file_name(task.image), *size, image_kind(image), annotations)
    copy = write_copy(source, staging)
    return ImageResult(problems, entry, borders_of(image), copy=copy)
