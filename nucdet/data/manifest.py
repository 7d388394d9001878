"""Records which JSON files one conversion wrote, so that no run mixes those of two.

A conversion that is killed while it writes leaves new files together with old ones, perhaps from
another seed; a network might then be evaluated on images that it was trained on. The manifest is
written last, and compared whenever a data set is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from nucdet.errors import InputError
from nucdet.files import write_json

MANIFEST = "conversion.json"


def write_manifest(
    folder: Path, names: Iterable[str], keep: bool = False, outdated: Iterable[str] = ()
) -> None:
    """Record the files that a conversion has written, and remove those left by killed ones.

    Args:
        folder: of the JSON files.
        names: of the files that the conversion wrote.
        keep: whether files of earlier conversions stay valid, for example when splits are added to
            a user's data set.
        outdated: files of earlier conversions that do not stay valid; they are removed.
    """
    outdated = set(outdated)
    hashes = _read(folder) if keep else {}
    hashes = {name: value for name, value in hashes.items() if name not in outdated}
    hashes |= {name: _hash(folder / name) for name in names}
    write_json(folder / MANIFEST, {"files": dict(sorted(hashes.items()))})
    for left in folder.glob(".instances_*-*.json"):  # see write_atomically
        left.unlink(missing_ok=True)
    for name in outdated:
        (folder / name).unlink(missing_ok=True)


def valid_files(folder: Path) -> set[str]:
    """The names of the JSON files that :func:`check_manifest` accepts unless they were changed."""
    there = {file.name for file in folder.glob("instances_*.json")}
    return there & _read(folder).keys() if (folder / MANIFEST).is_file() else there


def check_manifest(json_file: Path) -> None:
    """Compare a JSON with the manifest in its folder, if there is one.

    Raises:
        InputError: the file is from another conversion than the manifest, or was changed since.
    """
    folder = json_file.parent
    if not (folder / MANIFEST).is_file():
        return
    expected = _read(folder).get(json_file.name)
    if expected is None:
        found = "an older conversion wrote it, with other options"
    elif expected != _hash(json_file):
        found = "it was changed since, or a conversion was cut off"
    else:
        return
    raise InputError(
        f"{json_file}: not what the last conversion of {folder.parent.name} wrote ({found}), so "
        f"its images may be in other splits, too; convert again, or remove {MANIFEST} beside it if "
        "you changed it on purpose"
    )


def _read(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        if not isinstance(files, dict):
            raise TypeError(f"files is a {type(files).__name__}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error}); convert the data set again") from None
    return files


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
