"""The common part of the converters for users' own data: splitting and writing.

The images are not moved; of files with several planes, the chosen one is copied (see
:mod:`nucdet.data.conversion.plane_copies`). The COCO JSON of each split is written to ``<root of
all data sets>/<name>/``, and at the end the dataset.yaml by which
:func:`nucdet.data.datasets.register_datasets` finds it.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from nucdet.data.conversion.coco_json import ImageEntry, json_name, write_coco
from nucdet.data.conversion.own_splits import TEST, group_names, listed_splits, splits_kept
from nucdet.data.conversion.plane_copies import copy_names, remove_stale, staging_folder
from nucdet.data.conversion.report import ConversionReport
from nucdet.data.conversion.splits import (
    check_filled,
    check_folds,
    check_split,
    divide_into_folds,
    train_and_val,
)
from nucdet.data.conversion.tiles import set_groups
from nucdet.data.conversion.workers import ImageResult, map_images
from nucdet.data.dataset_info import (
    DATASET_FILE,
    DatasetInfo,
    check_word,
    fold_splits,
    write_dataset_file,
)
from nucdet.data.datasets import check_own_name, default_root
from nucdet.data.io.choice import ALL, Choice
from nucdet.data.manifest import write_manifest
from nucdet.errors import InputError
from nucdet.files import remove_left_over, write_atomically


class OwnTask(Protocol):
    """An image to convert, and whatever else a converter needs for it."""

    image: Path


@dataclass(frozen=True)
class OwnData:
    """The options that ``labels`` and ``coco`` have in common.

    Attributes:
        name: of the data set; its splits are registered as ``<name>_<split>``.
        val_fraction: share of the images that becomes val, the others train; 0: no val.
        split_files: used instead of ``val_fraction``: text files, each with the name of its split
            and one image name per line.
        test: used instead of ``val_fraction``: all images become test.
        groups: regular expression for the stems of the file names, or a csv with columns image and
            group: images of the same group stay in one split. Tiles of one larger image and copies
            are found without it.
        seed: of the split and the folds.
        folds: number of folds, 0 or at least 2, into which all images of the other splits except
            test are divided, too.
        root: folder of all data sets; None: ``$DETECTRON2_DATASETS``, else ``datasets/``.
        choice: of one plane of each file; ignored for a file with one.
    """

    name: str
    val_fraction: float = 0.1
    split_files: tuple[Path, ...] = ()
    test: bool = False
    groups: str = ""
    seed: int = 0
    folds: int = 0
    root: Path | None = None
    choice: Choice = field(default_factory=Choice)

    def __post_init__(self) -> None:
        check_word("--name", self.name)
        check_folds(self.folds)
        folds = fold_splits(self.folds)
        check_own_name(DatasetInfo(self.name, (*self.splits, *folds)))
        for split in self.splits:
            check_word("--split", split)
        if taken := [path for path in self.split_files if path.stem in folds]:
            raise InputError(f"--split {taken[0]}: --folds writes that split; rename the file")
        if len(set(self.splits)) < len(self.splits):
            raise InputError(f"--split: found the splits {self.splits}; expected each name once")
        check_split(self.val_fraction, self.seed, val_may_be_empty=True)
        if self.folds and self.splits == (TEST,):
            raise InputError(
                f"--folds {self.folds}: all images become the split test (by --test, --split, or "
                "without --labels), and folds are for training; leave --folds or --test out"
            )
        if self.choice.asks_for_all:
            axis = "z" if self.choice.z == ALL else "time"
            raise InputError(
                f"--{axis} {ALL}: expected one plane of each file, such as --{axis} 0; for several "
                "planes, convert each with a --name of its own and name all in DATASETS.TRAIN"
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that are written, without folds."""
        if self.split_files:
            return tuple(path.stem for path in self.split_files)
        return (TEST,) if self.test else ("train", "val") if self.val_fraction else ("train",)

    @property
    def folder(self) -> Path:
        """The folder of the data set."""
        return (default_root() if self.root is None else Path(self.root)) / self.name

    def file_name(self, image: Path) -> str:
        """The image's name in the JSON: relative to the data set's folder, with forward slashes."""
        # a folder that is a link would make ".." lead elsewhere; the image itself may be a link
        place = image.parent.resolve() / image.name
        return Path(os.path.relpath(place, self.folder.resolve())).as_posix()

    def convert(
        self,
        tasks: Sequence[OwnTask],
        convert_one: Callable[[Path, Any], ImageResult],
        classes: Sequence[str],
        report: ConversionReport,
        workers: int,
    ) -> dict[str, list[ImageEntry]]:
        """Convert, split and write JSONs and dataset.yaml: all of them or none.

        Args:
            tasks: one per image.
            convert_one: converts a task to an image, or problems, and writes the copy of a plane
                into the folder that is its first argument; runs in ``workers`` processes.
            classes: in the order of the category ids.
            report: with the problems found so far.
            workers: number of processes.

        Returns:
            The images of each split.

        Raises:
            FileNotFoundError, InputError: files are invalid or missing, options do not match them,
                a split would have no image, or other splits of the same data set are incompatible.
        """
        files = [task.image for task in tasks]
        groups = group_names(self.groups, files)
        if self.groups and (alone := [file for file in files if file not in groups]):
            report.remark(f"{len(alone)} images are in no group of --groups, {alone[0]} for one")
        listed, problems = listed_splits(self.split_files, files)
        report.add(problems)
        with staging_folder(self.folder) as staging:
            found = map_images(partial(convert_one, staging), tasks, workers)
            results: dict[Path, ImageResult] = {}
            for task, result in zip(tasks, found, strict=True):
                report.add(result.problems)
                if result.image:
                    results[task.image] = result
            self._name_copies(files, results)
            return self._finish(results, listed, groups, classes, report)

    def _name_copies(self, files: Sequence[Path], results: Mapping[Path, ImageResult]) -> None:
        copied = {image: result.image for image, result in results.items() if result.copy}
        if copied:
            names = copy_names(self.folder, files, self.choice)
            for image, entry in copied.items():
                entry.file_name, entry.original = names[image], entry.file_name

    def _finish(
        self,
        results: Mapping[Path, ImageResult],
        listed: Mapping[Path, str],
        groups: Mapping[Path, str],
        classes: Sequence[str],
        report: ConversionReport,
    ) -> dict[str, list[ImageEntry]]:
        """Report problems, or split and write what was converted."""
        images = [result.image for result in results.values()]
        borders = [result.borders for result in results.values()]
        set_groups(images, borders, [groups.get(image) for image in results])
        self._remark(report, results, listed)
        report.finish()
        if not results:
            raise InputError(f"{self.name}: no image is left to convert; see the lines above")
        splits = self._split(results, listed)
        self._write(results, splits, classes)
        return splits

    def _remark(
        self,
        report: ConversionReport,
        results: Mapping[Path, ImageResult],
        listed: Mapping[Path, str],
    ) -> None:
        empty = [image for image, result in results.items() if not result.image.annotations]
        if empty:
            report.remark(f"{len(empty)} images have no instance, {empty[0]} for one")
        doubtful: dict[str, list[Path]] = defaultdict(list)
        for image, result in results.items():
            for doubt in result.doubts:
                doubtful[doubt].append(image)
        for doubt, found in doubtful.items():
            report.remark(f"the labels of {len(found)} images, {found[0]} for one, {doubt}")
        if not self.split_files:
            return
        if unlisted := len(results.keys() - listed.keys()):
            report.remark(f"{unlisted} images are in no file of --split, left out")
        first: dict[int | None, Path] = {}
        for image in sorted(results.keys() & listed.keys()):
            other = first.setdefault(results[image].image.group, image)
            if listed[other] != listed[image]:
                report.remark(
                    f"{other} and {image} belong together (copies, tiles of one image or --groups) "
                    f"but are in {listed[other]} and {listed[image]}: scores will be too high"
                )

    def _split(
        self, results: Mapping[Path, ImageResult], listed: Mapping[Path, str]
    ) -> dict[str, list[ImageEntry]]:
        """The images of each split, including those of the folds."""
        images = [result.image for result in results.values()]
        if self.split_files:
            splits = {
                split: [r.image for file, r in results.items() if listed.get(file) == split]
                for split in self.splits
            }
        elif len(self.splits) == 1:
            splits = {self.splits[0]: images}
        else:
            kinds, groups, sizes = _traits(images)
            splits = train_and_val(images, kinds, groups, self.val_fraction, self.seed, sizes)
        check_filled(
            splits,
            len({image.group for image in images}),
            "choose a greater --val-fraction, 0 for no val, or --split",
        )
        divided = [p for split, members in splits.items() if split != TEST for p in members]
        divided.sort(key=lambda p: p.file_name)
        kinds, groups, sizes = _traits(divided)
        return splits | divide_into_folds(divided, kinds, groups, self.folds, self.seed, sizes)

    def _write(
        self,
        results: Mapping[Path, ImageResult],
        splits: Mapping[str, Sequence[ImageEntry]],
        classes: Sequence[str],
    ) -> None:
        """Write the JSONs, the copies of planes and dataset.yaml, and remove what is outdated."""
        kept, outdated = splits_kept(self.folder, splits, classes, bool(self.folds))
        info = DatasetInfo(self.name, tuple(sorted({*kept, *splits})), tuple(classes))
        with ExitStack() as staged:
            # the file that is staged first gets its final name last
            write_dataset_file(self._stage(staged, DATASET_FILE), info)
            for split, members in splits.items():
                temporary = self._stage(staged, f"annotations/{json_name(split)}")
                description = f"{self.name} {split}"
                write_coco(temporary, members, description, classes, self.choice.chosen())
            used = {entry.file_name for members in splits.values() for entry in members}
            for result in results.values():
                if result.copy and result.image.file_name in used:
                    place = self.folder / result.image.file_name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    result.copy.replace(place)
        written, gone = map(json_name, splits), map(json_name, outdated)
        write_manifest(self.folder / "annotations", written, keep=True, outdated=gone)
        remove_stale(self.folder, used.union(*kept.values()))
        remove_left_over([self.folder / DATASET_FILE])
        if outdated and not self.folds:
            print(
                f"note: removed the folds of {self.name}, which divided the images of an earlier "
                "conversion; give --folds for new ones",
                file=sys.stderr,
            )

    def _stage(self, staged: ExitStack, name: str) -> Path:
        return staged.enter_context(write_atomically(self.folder / name))


def _traits(images: Sequence[ImageEntry]) -> tuple[list[Any], list[int | None], list[Any]]:
    """Kinds, groups and further traits of images for :mod:`nucdet.data.conversion.splits`."""
    # without the second, val may get only images without nuclei, which tell no model from another
    kinds = [(p.kind, bool(p.annotations)) for p in images]
    return kinds, [p.group for p in images], [((p.height, p.width),) for p in images]
