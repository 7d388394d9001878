"""Which planes of a stack are done: a list on the disk that grows by a line a plane."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nucdet.export import ImageRecord
from nucdet.files import digest


@dataclass(frozen=True)
class StoredPlane:
    """What is kept of a predicted plane.

    Attributes:
        record: for the files over all images; its numbers of nuclei count through the stack.
        table: its rows of the csv, see :func:`nucdet.export.csv_text`.
        sizes: of the files that it has alone, bytes by name.
    """

    record: ImageRecord
    table: str
    sizes: dict[str, int]


@dataclass(frozen=True)
class StoredStack:
    """The planes of a stack that is predicted as a whole.

    Attributes:
        planes: in their order; each is read from the disk when it is asked for.
        lengths: of the axes that the stack has.
        nuclei: in all planes.
        is_whole: whether they are all times and depths of the file.
    """

    planes: PlaneRecords
    lengths: tuple[int, ...]
    nuclei: int
    is_whole: bool


class Kept(NamedTuple):
    """How far an earlier run has come.

    Attributes:
        planes: how many.
        nuclei: in them.
        end: bytes of the list that they take.
    """

    planes: int
    nuclei: int
    end: int


class PlaneRecords:
    """The planes of one file that are done, in their order, in a file of JSON lines.

    Each line holds the sha256 of its content. The list ends at the first line that is damaged, cut
    short, or was made from another file or with other settings. One process writes it.
    """

    def __init__(self, path: Path, key: dict[str, Any]):
        """
        Args:
            path: of the list.
            key: what the results depend on; it stands in each line.
        """
        self._path, self._key = path, key

    def __iter__(self) -> Iterator[StoredPlane]:
        return (plane for plane, _ in self._lines())

    def of_any_run(self) -> Iterator[StoredPlane]:
        """Also those that were made from another file, or with other settings."""
        return (plane for plane, _ in self._lines(of_any_run=True))

    def append(self, plane: StoredPlane) -> None:
        """Add the next plane; it is on the disk when this returns.

        Raises:
            OSError: it cannot be written.
        """
        content = self._key | {"record": vars(plane.record), "table": plane.table}
        content |= {"sizes": plane.sizes}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content | {"sha256": digest(content)}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def count(self, is_whole: Callable[[StoredPlane], bool]) -> Kept:
        """How far the list goes before its first line that is no good.

        Args:
            is_whole: whether the files that a plane has alone are there.
        """
        kept = Kept(0, 0, 0)
        for plane, end in self._lines():
            if not is_whole(plane):
                break
            kept = Kept(kept.planes + 1, kept.nuclei + len(plane.record.areas), end)
        return kept

    def cut(self, kept: Kept) -> None:
        """Forget what follows."""
        if self.exists():
            os.truncate(self._path, kept.end)

    def clear(self) -> None:
        """Forget all planes."""
        self._path.unlink(missing_ok=True)

    def exists(self) -> bool:
        """Whether there is a list, be it of another run, an empty or a damaged one."""
        return self._path.exists()

    def _lines(self, of_any_run: bool = False) -> Iterator[tuple[StoredPlane, int]]:
        """Planes, and where their lines end."""
        try:
            file = self._path.open("rb")
        except OSError:
            return
        end = 0
        with file:
            for line in file:
                end += len(line)
                plane = self._parse(line, {} if of_any_run else self._key)
                if plane is None:
                    return
                yield plane, end

    @staticmethod
    def _parse(line: bytes, key: dict[str, Any]) -> StoredPlane | None:
        if not line.endswith(b"\n"):
            return None
        try:
            content = json.loads(line)
            expected = content.pop("sha256")
            if expected != digest(content) or any(content[k] != v for k, v in key.items()):
                return None
            # of another version of nucdet it may have other fields
            return StoredPlane(ImageRecord(**content["record"]), content["table"], content["sizes"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
