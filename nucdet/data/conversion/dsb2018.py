"""Converts DSB2018 (2018 Data Science Bowl, BBBC038) from Kaggle's folders to COCO JSON.

Expected under the root: ``stage1_train/<id>/{images,masks}/*.png`` with one mask file per nucleus,
and/or a test stage with ``<id>/images/*.png`` whose ground truth, if any, is in ``<id>/masks`` or
in Kaggle's solution csv next to the stage's folder. If there are both, ``masks`` are used: the csv
comes with the download, while a folder of masks was added on purpose, for example the community's
fixes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nucdet.data.conversion.coco_json import ImageEntry, write_splits
from nucdet.data.conversion.dsb2018_images import ImageTask, OverlapResult, convert_image
from nucdet.data.conversion.kaggle_csv import read_groups, read_solution
from nucdet.data.conversion.report import IMAGE, ConversionReport, Problem
from nucdet.data.conversion.splits import (
    check_filled,
    check_folds,
    check_split,
    divide_into_folds,
    train_and_val,
)
from nucdet.data.conversion.tiles import set_groups
from nucdet.data.conversion.workers import check_workers, map_images
from nucdet.errors import InputError
from nucdet.image_names import check_distinct, composed

TRAIN = "stage1_train"
TESTS = {"stage1_test": "stage1_solution.csv", "stage2_test": "stage2_solution_final.csv"}
_SEE_ABOVE = "see the lines above for what is bad"


@dataclass(frozen=True)
class SplitOptions:
    """How stage1_train is split.

    Attributes:
        val_fraction: share of stage1_train that becomes val, more than 0 and less than 1.
        seed: of the split and the folds.
        folds: number of folds, 0 or at least 2.
        kinds: whether to also write splits with only one kind of image, and without it.
        groups_file: csv that names images to be kept together.

    Raises:
        InputError: a number is out of range.
    """

    val_fraction: float = 0.1
    seed: int = 0
    folds: int = 0
    kinds: bool = False
    groups_file: Path | None = None

    def __post_init__(self) -> None:
        check_split(self.val_fraction, self.seed)
        check_folds(self.folds)


def convert_dsb2018(
    root: str | os.PathLike[str],
    options: SplitOptions | None = None,
    *,
    test: str | None = None,
    workers: int = 1,
    skip_invalid: bool = False,
) -> dict[str, list[ImageEntry]]:
    """Write ``<root>/annotations/instances_<split>.json`` for every split.

    Splits: trainval, train, val, ``fold<k>_{train,val}`` and ``{only,without}_<kind>`` from
    stage1_train, test from a test stage, each if its folder exists. The split of an image depends
    on the seed, the images and the groups, not on ``workers``.

    Args:
        root: folder with Kaggle's folders.
        options: how stage1_train is split; None: the defaults of :class:`SplitOptions`.
        test: the stage that becomes the test split; None: the first of TESTS whose folder exists.
        workers: number of processes.
        skip_invalid: leave out invalid files instead of failing.

    Returns:
        The images of each split.

    Raises:
        FileNotFoundError: there is no such root, test stage or groups file.
        InputError: the root lacks Kaggle's folders, files are invalid, a value is out of range, or
            a split would have no images.
    """
    root, options = Path(root), options or SplitOptions()
    _check_root(root, test)
    check_workers(workers)
    report = ConversionReport(skip_invalid)
    tasks = _train_tasks(root, report)
    in_train = len(tasks)
    test_tasks = _test_tasks(root, test, report)
    tasks += test_tasks or []
    group_of = read_groups(options.groups_file) if options.groups_file else {}

    results = map_images(convert_image, tasks, workers)
    for result in results:
        report.add(result.problems)
    _remark_on_overlaps(report, tasks, results)
    report.finish()

    train = [(t, r) for t, r in zip(tasks[:in_train], results[:in_train], strict=True) if r.image]
    images = [r.image for _, r in train]
    set_groups(
        images, [r.borders for _, r in train], [group_of.get(composed(t.id)) for t, _ in train]
    )
    splits = _split(images, options) if (root / TRAIN).is_dir() else {}
    if test_tasks is not None:
        splits["test"] = [r.image for r in results[in_train:] if r.image]
        check_filled(splits, len(test_tasks), _SEE_ABOVE)
    write_splits(root / "annotations", splits, "DSB2018")
    return splits


def _check_root(root: Path, test: str | None) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {_expected()}")
    if test and test not in TESTS:
        raise InputError(f"--test {test}: expected one of {', '.join(TESTS)}")
    if test and not (root / test).is_dir():
        raise FileNotFoundError(f"{root / test}: no such folder, but --test asks for it")
    if not any((root / stage).is_dir() for stage in (TRAIN, *TESTS)):
        raise InputError(f"{root}: none of {TRAIN}, {', '.join(TESTS)} in it; {_expected()}")


def _expected() -> str:
    return (
        f"expected Kaggle's layout, {TRAIN}/<id>/images/<id>.png and {TRAIN}/<id>/masks/*.png; "
        "unpack the download there (datasets/README.md)"
    )


def _image_folders(stage: Path) -> list[Path]:
    folders = sorted(f for f in stage.iterdir() if f.is_dir() and not f.name.startswith("."))
    check_distinct(folders)
    if not folders:
        raise InputError(f"{stage}: no image's folder in it; {_expected()}")
    return folders


def _train_tasks(root: Path, report: ConversionReport) -> list[ImageTask]:
    if not (root / TRAIN).is_dir():
        return []
    return _mask_tasks(root, _image_folders(root / TRAIN), report)


def _test_tasks(root: Path, test: str | None, report: ConversionReport) -> list[ImageTask] | None:
    """The tasks of the stage that becomes the test split; None if there is none."""
    stage = test or next((stage for stage in TESTS if (root / stage).is_dir()), None)
    if stage is None:
        return None
    folders = _image_folders(root / stage)
    solution = root / TESTS[stage]
    if any((folder / "masks").is_dir() for folder in folders):
        return _mask_tasks(root, folders, report)
    if solution.is_file():
        return _csv_tasks(root, folders, solution, report)
    report.remark(f"{root / stage}: neither masks nor {solution.name}, so test has no ground truth")
    return [task for f in folders if (task := _task(root, f, report))]


def _task(root: Path, folder: Path, report: ConversionReport) -> ImageTask | None:
    """The task of one folder, still without ground truth; None and a problem if it is invalid."""
    images = sorted((folder / "images").glob("*.png"))
    if len(images) == 1:
        return ImageTask(folder.name, root, images[0])
    what = f"{len(images)} png files in its images folder, expected 1"
    report.add([Problem(str(folder), what, IMAGE)])
    return None


def _mask_tasks(root: Path, folders: list[Path], report: ConversionReport) -> list[ImageTask]:
    tasks = []
    for folder in folders:
        task = _task(root, folder, report)
        if not task:
            continue
        task.mask_files = sorted((folder / "masks").glob("*.png"))
        if task.mask_files:
            tasks.append(task)
        else:
            what = "no png file in its masks folder, expected one for each nucleus"
            report.add([Problem(str(folder), what, IMAGE)])
    return tasks


def _csv_tasks(
    root: Path, folders: list[Path], solution: Path, report: ConversionReport
) -> list[ImageTask]:
    ids = {folder: composed(folder.name) for folder in folders}
    truth, ignored, problems = read_solution(solution, set(ids.values()))
    report.add(problems)
    tasks = []
    for folder, image_id in ids.items():
        if image_id in ignored:
            continue
        if image_id not in truth:
            what = f"no row in {solution.name}, expected one for each nucleus"
            report.add([Problem(str(folder), what, IMAGE)])
        elif task := _task(root, folder, report):
            task.csv_truth = truth[image_id]
            tasks.append(task)
    return tasks


def _remark_on_overlaps(
    report: ConversionReport, tasks: list[ImageTask], results: list[OverlapResult]
) -> None:
    found = [(t, r) for t, r in zip(tasks, results, strict=True) if r.image and r.shared_pixels]
    if found:
        report.remark(
            f"overlapping masks, kept as they are: {sum(r.overlapping for _, r in found)} masks in "
            f"{len(found)} images share {sum(r.shared_pixels for _, r in found)} pixels"
        )
    for task, result in found:
        report.remark(
            f"{task.image_file}: {result.overlapping} masks share {result.shared_pixels} pixels"
        )


def _split(images: list[ImageEntry], options: SplitOptions) -> dict[str, list[ImageEntry]]:
    """The splits of stage1_train, none of them empty."""
    kinds, groups = [p.kind for p in images], [p.group for p in images]
    sizes = [((p.height, p.width),) for p in images]
    count = len(set(groups))
    everything = {"trainval": images}
    check_filled(everything, count, _SEE_ABOVE)
    two = train_and_val(images, kinds, groups, options.val_fraction, options.seed, sizes)
    check_filled(two, count, "choose another --val-fraction")
    folds = divide_into_folds(images, kinds, groups, options.folds, options.seed, sizes)
    by_kind = _split_by_kind(images) if options.kinds else {}
    check_filled(by_kind, count, "leave out --kinds, as all images go with that kind")
    return everything | two | folds | by_kind


def _split_by_kind(images: list[ImageEntry]) -> dict[str, list[ImageEntry]]:
    splits = {}
    for kind in sorted({p.kind for p in images}):
        only = [p for p in images if p.kind == kind]
        # leave out tiles of the same specimens, too, even if they look like another kind
        groups = {p.group for p in only}
        splits[f"only_{kind}"] = only
        splits[f"without_{kind}"] = [p for p in images if p.group not in groups]
    return splits
