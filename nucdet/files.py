"""Reading and writing files; :func:`write_atomically` never leaves half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from nucdet.errors import InputError

# the names that mkstemp creates from the prefix ".stem-" and the suffix
_TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}(\.[^.]*|)")
# text that a spreadsheet program reads as a number with a sign
_NUMBER = re.compile(r"[+-][0-9]*[.,]?[0-9]+([eE][+-]?[0-9]+)?")
# a disk, a user's quota or the size of one file is used up
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces ``path`` if the block succeeds.

    The folder is created if missing. If the block raises, ``path`` is left unchanged and the
    temporary file is removed, so a full disk or Ctrl-C never leaves half a file under the final
    name. Neither does a power failure, because the content is flushed to disk before the renaming.
    The temporary name keeps the suffix, because image writers choose the format by it.

    Raises:
        OSError: the folder cannot be created or written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{_temporary_stem(path)}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        # mkstemp creates private files; set the permissions that open() would have set
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:  # a failed write names no file
            error.filename = os.fspath(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file to write it as a whole: :func:`write_atomically` for tables and JSON.

    It is UTF-8 with the line ends that are written, on every system.
    """
    with (
        write_atomically(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        yield file


def printable(path: str | os.PathLike[str]) -> str:
    """A path as text that can always be printed: bytes that are not valid UTF-8 are escaped."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def longest_name(folder: Path) -> int:
    """The longest possible name of a file in this folder, in bytes; the folder need not exist."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, AttributeError):  # no such folder yet; Windows
        return 255


def _temporary_stem(path: Path) -> str:
    """The stem, cut so that the dot, the hyphen and the eight characters of mkstemp still fit."""
    room = longest_name(path.parent) - len(os.fsencode(path.suffix)) - len(".-") - 8
    encoded = os.fsencode(path.stem)
    # a multi-byte character that was cut is dropped
    return path.stem if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore")


def check_exist(*paths: str | os.PathLike[str]) -> None:
    """Raise FileNotFoundError with the first of these files or folders that does not exist."""
    for path in paths:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: no such file")


def remove_left_over(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Remove the temporary files that a killed :func:`write_atomically` left for these paths.

    Only for paths that no other process is writing at this moment.
    """
    expected = {path.with_name(_temporary_stem(path) + path.suffix) for path in map(Path, paths)}
    for folder in {path.parent for path in expected if path.parent.is_dir()}:
        for left, path in find_left_over(folder):
            if path in expected:
                left.unlink(missing_ok=True)


def find_left_over(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Find the files in a folder that a killed :func:`write_atomically` may have left.

    Yields:
        The temporary file and the path that it was meant to replace. If the name of that path is
        nearly as long as the file system allows, its stem may be cut.
    """
    for left in folder.glob(".*"):
        name = _TEMPORARY.fullmatch(left.name)
        if name:
            yield left, folder / f"{name[1]}{name[2]}"


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def table_text(text: str) -> str:
    """Text for a csv cell that no spreadsheet program interprets as a formula.

    File names are untrusted input: text that starts like a formula and is no number gets a ``'`` in
    front.

    Example:
        >>> table_text("=HYPERLINK(0).png"), table_text("a=b.png"), table_text("-6.5")
        ("'=HYPERLINK(0).png", 'a=b.png', '-6.5')
    """
    is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r")) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as JSON, atomically and byte-identical for equal content."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file, usually in COCO format.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not valid JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; expected a COCO JSON") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error}); the file may be cut off") from error


def digest(content: Any) -> str:
    """The sha256 of ``content`` as JSON, the same before it is written and after it is read."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
