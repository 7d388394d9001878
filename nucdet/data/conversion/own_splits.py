"""Which images of users' own data stay together, and which splits they and earlier ones form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nucdet.data.conversion.coco_json import ImageEntry
from nucdet.data.conversion.csv_rows import read_rows
from nucdet.data.conversion.report import Problem
from nucdet.data.dataset_info import DATASET_FILE, count_folds, fold_splits, read_dataset_file
from nucdet.data.json_stream import stream_entries
from nucdet.errors import InputError
from nucdet.image_names import compiled, composed, names_of

TEST = "test"  # the split that is never trained on, and thus not divided into folds
_GROUP_COLUMNS = ("image", "group")


def group_names(groups: str, images: Sequence[Path]) -> dict[Path, str]:
    """The group of each image according to --groups, without images for which it names none.

    Args:
        groups: see :class:`nucdet.data.conversion.own_data.OwnData`; "": no groups.
        images: all images.

    Raises:
        FileNotFoundError: there is no such csv.
        InputError: it is not a csv with these columns that names an image and puts none into two
            groups, nor a regular expression that matches all images.
    """
    if not groups or not images:
        return {}
    if groups.lower().endswith(".csv"):
        of_name: dict[str, str] = {}
        for line, row in read_rows(Path(groups), _GROUP_COLUMNS):
            name, group = (composed(row[column] or "") for column in _GROUP_COLUMNS)
            if group and of_name.setdefault(name, group) != group:
                raise InputError(
                    f"--groups {groups}, line {line}: {name} is in the groups {of_name[name]} and "
                    f"{group}; expected one"
                )
        found = {
            image: next(filter(None, map(of_name.get, reversed(names_of(image.name)))), None)
            for image in images
        }
        if not any(found.values()):
            raise InputError(
                f"--groups {groups}: names none of the images; expected file names or "
                f"stems such as {images[0].name} in the column image"
            )
        return {image: group for image, group in found.items() if group}
    pattern = compiled(groups, f"--groups {groups!r}: no regular expression")
    matches = {image: pattern.search(composed(image.stem)) for image in images}
    without = [image.name for image, match in matches.items() if not match]
    if without:
        raise InputError(
            f"--groups {groups!r}: does not match the stem of {len(without)} images, "
            f"{without[0]} for one; expected a regular expression whose (part) is the group"
        )
    # without a (part), the whole match is the group
    parts = {image: match.groups("") or (match[0],) for image, match in matches.items()}
    return {image: "\n".join(found) for image, found in parts.items() if any(found)}


def listed_splits(
    split_files: Iterable[Path], images: Sequence[Path]
) -> tuple[dict[Path, str], list[Problem]]:
    """The split of each image according to the files of --split, named like their splits.

    Args:
        split_files: contain an image name per line: a file name with or without extension and
            folders.
        images: all images.

    Returns:
        The split of each named image, and problems for lines that do not name exactly one image or
        name one of another split.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not a text file.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        for name in set(names_of(image.name)):
            by_name[name].append(image)
    split_of: dict[Path, str] = {}
    problems = []
    for path in split_files:
        for number, line in _lines(path):
            found = by_name[Path(line).name]
            if len(found) > 1 and "/" in line:
                ending = f"/{line}"
                found = [image for image in found if composed(image.as_posix()).endswith(ending)]
            if len(found) != 1:
                what = f"names {line!r}, as {len(found)} images are called; expected one"
            elif split_of.setdefault(found[0], path.stem) != path.stem:
                what = f"names {line!r}, which is in {split_of[found[0]]} already"
            else:
                continue
            problems.append(Problem(f"{path}, line {number}", what, "the line"))
    return split_of, problems


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, composed, with their numbers from 1."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error})") from None
    stripped = enumerate((composed(line.strip()) for line in lines), 1)
    return [(number, line) for number, line in stripped if line]


def splits_kept(
    folder: Path,
    splits: Mapping[str, Sequence[ImageEntry]],
    classes: Sequence[str],
    has_folds: bool,
) -> tuple[dict[str, set[str]], list[str]]:
    """Which splits of earlier conversions stay in a data set.

    Args:
        folder: of the data set.
        splits: the new ones, which replace those of the same names.
        classes: of the new ones, in the order of the category ids.
        has_folds: whether there are new folds.

    Returns:
        The splits that stay, with their file names, and folds that do not, since the splits that
        they divided are replaced.

    Raises:
        InputError: they have other classes, or share images with the new splits.
    """
    path = folder / DATASET_FILE
    if not path.is_file():
        return {}, []
    earlier = read_dataset_file(path)
    remedy = f"delete {folder} or choose another --name"
    count = count_folds(earlier.splits)
    folds = fold_splits(count if count > 1 else 0)
    divided = {*earlier.splits}.difference(folds, [TEST])
    are_outdated = has_folds or divided & set(splits)
    outdated = [split for split in folds if are_outdated and split not in splits]
    there = [s for s in earlier.splits if s not in splits and s not in outdated]
    there.sort(key=lambda split: split in folds)  # a message names those that they divide
    kept = [split for split in there if earlier.json_file(path.parents[1], split).is_file()]
    if kept and list(earlier.classes) != list(classes):
        raise InputError(
            f"{path}: has the classes {', '.join(earlier.classes)} in {', '.join(kept)}, not "
            f"{', '.join(classes)}; {remedy}"
        )
    new = {
        composed(image.original or image.file_name)
        for members in splits.values()
        for image in members
    }
    names: dict[str, set[str]] = {}
    for split in kept:
        originals = _file_names(earlier.json_file(path.parents[1], split))
        names[split] = set(originals)
        if shared := len(new.intersection(originals.values())):
            raise InputError(
                f"{path}: {shared} of the images are in {split} already, from an earlier "
                f"conversion; expected each in one split: {remedy}"
            )
    return names, outdated


def _file_names(json_file: Path) -> dict[str, str]:
    """The file names of the images of a COCO JSON, and of what each is a copy or else itself,
    composed.
    """
    images = (entry for member, entry in stream_entries(json_file) if member == "images")
    return {
        entry["file_name"]: composed(entry.get("original", entry["file_name"])) for entry in images
    }
