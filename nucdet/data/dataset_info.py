"""The description of a data set (name, splits, classes), and the file that stores it.

``<root>/<name>/dataset.yaml`` describes data that is not in nucdet's own table
(:mod:`nucdet.data.datasets`), so that no code is needed to use it::

    name: mydata
    classes: [nucleus]
    splits: [train, val]
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nucdet.errors import InputError
from nucdet.files import write_atomically

DATASET_FILE = "dataset.yaml"
_FOLD = re.compile(r"fold\d+_(train|val)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_EXPECTED = "expected name (that of its folder), classes and splits; convert the data again"


@dataclass(frozen=True)
class DatasetInfo:
    """One data set: its folder under the root, its splits, and its classes in order of id."""

    name: str
    splits: tuple[str, ...]
    classes: tuple[str, ...] = ("nucleus",)

    def json_file(self, root: Path, split: str) -> Path:
        """The path of the COCO JSON that the converter writes for a split."""
        return root / self.name / "annotations" / f"instances_{split}.json"


def splits_of_fold(fold: int) -> tuple[str, str]:
    """The splits of a fold to train on and to score on: ``fold0_train`` and ``fold0_val``."""
    return f"fold{fold}_train", f"fold{fold}_val"


def fold_splits(count: int) -> tuple[str, ...]:
    """The splits of so many folds: ``fold0_train``, ``fold0_val``, ``fold1_train``, …"""
    return tuple(split for fold in range(count) for split in splits_of_fold(fold))


def is_fold(split: str) -> bool:
    """Whether a split has the name of one of :func:`fold_splits`."""
    return _FOLD.fullmatch(split) is not None


def count_folds(splits: Iterable[str]) -> int:
    """The number of folds, from 0 without a gap, whose two splits are among these."""
    splits, count = set(splits), 0
    while splits.issuperset(splits_of_fold(count)):
        count += 1
    return count


def check_word(what: str, word: str) -> str:
    """``word``, if it may be part of the names of files and catalog entries.

    Raises:
        InputError: it contains other characters.
    """
    if not _NAME.fullmatch(word):
        raise InputError(
            f"{what} {word!r}: expected letters, digits, _ and -, the first a letter or digit"
        )
    return word


def read_dataset_file(path: Path) -> DatasetInfo:
    """Read a dataset.yaml.

    Raises:
        InputError: it is not such a file, or its name is not that of its folder.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a yaml text file ({error}); {_EXPECTED}") from error
    if not isinstance(content, dict) or set(content) != {"name", "classes", "splits"}:
        found = list(content) if isinstance(content, dict) else content
        raise InputError(f"{path}: found {str(found)[:60]}; {_EXPECTED}")
    if content["name"] != path.parent.name:
        raise InputError(f"{path}: found the name {content['name']!r}; {_EXPECTED}")
    splits, classes = (_words(path, content, key) for key in ("splits", "classes"))
    for split in splits:
        check_word(f"{path}: split", split)
    return DatasetInfo(content["name"], splits, classes)


def write_dataset_file(path: Path, info: DatasetInfo) -> None:
    """Write a dataset.yaml, whole or not at all."""
    content = {"name": info.name, "classes": list(info.classes), "splits": list(info.splits)}
    with write_atomically(path) as temporary:
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def find_datasets(root: Path) -> list[DatasetInfo]:
    """The data sets under a root that have a dataset.yaml, sorted by name.

    Raises:
        InputError: one of these files is broken.
    """
    return [read_dataset_file(path) for path in sorted(root.glob(f"*/{DATASET_FILE}"))]


def _words(path: Path, content: dict[str, Any], key: str) -> tuple[str, ...]:
    words = content[key]
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise InputError(f"{path}: found {key} {str(words)[:60]}; expected a list of words")
    if len(set(words)) < len(words):
        raise InputError(f"{path}: found {key} {words}; expected each of them once")
    return tuple(words)
