"""The user's choice of which of their images stay together, and which go into which split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from nucdet.data.conversion.csv_rows import read_rows
from nucdet.data.conversion.report import Problem
from nucdet.errors import InputError

_GROUP_COLUMNS = ("image", "group")


def group_names(groups: str, images: Sequence[Path]) -> dict[Path, str]:
    """The group of each image by the option --groups; those that it does not name are left out.

    Args:
        groups: see :class:`nucdet.data.conversion.own_data.OwnData`; "" names no image.
        images: all that there are.

    Raises:
        FileNotFoundError: no such csv.
        InputError: not a csv with these columns, no regular expression, or one that does not
            match an image.
    """
    if not groups or not images:
        return {}
    if groups.lower().endswith(".csv"):
        rows = [row for _, row in read_rows(Path(groups), _GROUP_COLUMNS)]
        of_name = {row["image"]: row["group"] for row in rows if row["group"]}
        found = {image: of_name.get(image.name) or of_name.get(image.stem) for image in images}
        if not any(found.values()):
            raise InputError(
                f"--groups {groups}: names none of the images; expected file names or "
                f"stems such as {images[0].name} in the column image"
            )
        return {image: group for image, group in found.items() if group}
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise InputError(f"--groups {groups!r}: no regular expression ({error})") from None
    matches = {image: pattern.search(image.stem) for image in images}
    without = [image.name for image, match in matches.items() if not match]
    if without:
        raise InputError(
            f"--groups {groups!r}: does not match the stem of {len(without)} images, "
            f"{without[0]} for one; expected a regular expression whose (part) is the group"
        )
    return {
        image: "\n".join(map(str, match.groups())) if match.groups() else match[0]
        for image, match in matches.items()
    }


def listed_splits(
    split_files: Iterable[Path], images: Sequence[Path]
) -> tuple[dict[Path, str], list[Problem]]:
    """The split of each image by the files of --split, which are named as their splits.

    Args:
        split_files: a name of an image a line: its file name with or without ending or folders.
        images: those that there are.

    Returns:
        The split of each image that is named, and the lines that name none or one of another split.

    Raises:
        FileNotFoundError: no such file.
        InputError: it is not a text file.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        for name in {image.stem, image.name}:
            by_name[name].append(image)
    split_of: dict[Path, str] = {}
    problems = []
    for path in split_files:
        for number, line in _lines(path):
            found = by_name[Path(line).name]
            if len(found) > 1 and "/" in line:
                found = [image for image in found if image.as_posix().endswith(f"/{line}")]
            if len(found) != 1:
                what = f"names {line!r}, as {len(found)} images are called; expected one"
            elif split_of.setdefault(found[0], path.stem) != path.stem:
                what = f"names {line!r}, which is in {split_of[found[0]]} already"
            else:
                continue
            problems.append(Problem(f"{path}, line {number}", what, "the line"))
    return split_of, problems


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error})") from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
