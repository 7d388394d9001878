"""Finds the folds that a conversion with --folds has written, for cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

from nucdet.data.dataset_info import DatasetInfo, count_folds, fold_splits, is_fold
from nucdet.data.datasets import DATASETS, NUM_FOLDS, check_datasets, dataset_of, default_root
from nucdet.data.manifest import valid_files
from nucdet.errors import InputError

_WITH_FOLDS = "dsb2018"  # the only data set of nucdet's table whose converter makes folds
_USUAL = 5  # folds, for the command in a message


def find_folds(train: Sequence[str], folds: int | None = None) -> tuple[str, int]:
    """The data set that catalog entries belong to, and its number of folds.

    Args:
        train: DATASETS.TRAIN: splits of one data set, which are registered.
        folds: the number of folds that it must have; None: any.

    Raises:
        InputError: they are not splits of one data set, or it does not have these folds; the line
            names what was found and the command that makes the folds.
    """
    if folds is not None and folds < 2:
        raise InputError(f"--folds {folds}: expected 2 or more")
    infos = {name: dataset_of(name) for name in train}
    check_datasets(name for name, info in infos.items() if info is None)
    found = {info.name: info for info in infos.values() if info}
    if None in infos.values() or len(found) != 1:
        raise InputError(
            f"DATASETS.TRAIN: found {', '.join(train) or 'nothing'}; expected a split of one data "
            "set that was converted with --folds, e.g. DATASETS.TRAIN \"('mydata_train',)\""
        )
    (info,) = found.values()
    return info.name, _count(info, folds)


def _count(info: DatasetInfo, wanted: int | None) -> int:
    """The number of folds of a data set, which is the one that is wanted."""
    is_own = info not in DATASETS
    if not is_own and info.name != _WITH_FOLDS:
        raise InputError(
            f"DATASETS.TRAIN: found {info.name}, for which nucdet-convert makes no folds; expected "
            f"{_WITH_FOLDS}, or your own data, converted with nucdet-convert labels or coco --folds"
        )
    folder = info.json_file(default_root(), "").parent
    files = valid_files(folder)
    splits = sorted(file.removeprefix("instances_").removesuffix(".json") for file in files)
    count = count_folds(splits)
    if lone := [split for split in splits if is_fold(split) and split not in fold_splits(count)]:
        raise InputError(
            f"{info.json_file(default_root(), lone[0])}: belongs to a fold, but others are "
            f"missing; make all of them again: {_command(info, is_own, wanted or _USUAL)}"
        )
    if count < 2:
        found = f"the splits {', '.join(splits)}" if splits else "no split"
        raise InputError(
            f"{folder}: found {found}, but no folds of {info.name}; make them: "
            f"{_command(info, is_own, wanted or _USUAL)}"
        )
    if wanted not in (None, count):
        raise InputError(
            f"--folds {wanted}: found {count} folds in {folder}; leave --folds out (--only trains "
            f"some of them), or make others: {_command(info, is_own, wanted)}"
        )
    if count > NUM_FOLDS and not is_own:
        raise InputError(
            f"{folder}: found {count} folds, expected at most {NUM_FOLDS}; make fewer: "
            f"{_command(info, is_own, NUM_FOLDS)}"
        )
    return count


def _command(info: DatasetInfo, is_own: bool, folds: int) -> str:
    if is_own:
        return (
            f"nucdet-convert labels or coco --name {info.name} with the same options as before and "
            f"--folds {folds}"
        )
    return f"nucdet-convert {info.name} --root {default_root() / info.name} --folds {folds}"
