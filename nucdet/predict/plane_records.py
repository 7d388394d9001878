"""Records of the finished planes of a stack: a file on disk to which each plane adds a line."""

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
    """What is stored of a predicted plane.

    Attributes:
        record: for the files that cover all images; the ids of nuclei are those in the stack.
        table: its csv with a header, see :func:`nucdet.export.csv_text`.
        sizes: the size in bytes of each file that the plane has on its own, by format.
    """

    record: ImageRecord
    table: str
    sizes: dict[str, int]


@dataclass(frozen=True)
class StoredStack:
    """A stack of which all planes are predicted.

    Attributes:
        planes: the planes in order; each is read from disk when iterated over.
        lengths: the number of planes along each axis of the stack.
        nuclei: the number of nuclei in all planes, which is the largest id.
        is_whole: whether the planes are all times and depths of the file.
        link: the axis along which nuclei are linked, or None.
        z_step: the distance of two depths, µm, or None.
    """

    planes: PlaneRecords
    lengths: tuple[int, ...]
    nuclei: int
    is_whole: bool
    link: str | None = None
    z_step: float | None = None


class Kept(NamedTuple):
    """How many planes of a stack an earlier run has finished.

    Attributes:
        planes: the number of planes.
        end: the size of their lines in the list, bytes.
    """

    planes: int
    end: int


class PlaneRecords:
    """The finished planes of one image file, in order, as a file of JSON lines.

    Each line contains the sha256 of its content. The list ends at the first line that is damaged,
    incomplete, or from another version of the image file or other settings. Only one process writes
    the list.
    """

    def __init__(self, path: Path, key: dict[str, Any]):
        """
        Args:
            path: the path of the list.
            key: what the results depend on; it is stored in each line.
        """
        self._path, self._key = path, key

    def __iter__(self) -> Iterator[StoredPlane]:
        return (plane for plane, _ in self._lines())

    def of_any_run(self) -> Iterator[StoredPlane]:
        """Iterate over all planes, even if they are from another file or other settings."""
        return (plane for plane, _ in self._lines(of_any_run=True))

    def append(self, plane: StoredPlane) -> None:
        """Append the next plane; it has been flushed to disk when this returns.

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
        """Count the planes up to the first that is not valid.

        Args:
            is_whole: whether the files that a plane has on its own are complete.
        """
        kept = Kept(0, 0)
        for plane, end in self._lines():
            if not is_whole(plane):
                break
            kept = Kept(kept.planes + 1, end)
        return kept

    def cut(self, kept: Kept) -> None:
        """Remove the planes after these from the list."""
        if self.exists():
            os.truncate(self._path, kept.end)

    def clear(self) -> None:
        """Remove the list."""
        self._path.unlink(missing_ok=True)

    def exists(self) -> bool:
        """Whether there is a list, even if it is empty, damaged or from another run."""
        return self._path.exists()

    def _lines(self, of_any_run: bool = False) -> Iterator[tuple[StoredPlane, int]]:
        """The valid planes, each with the position in bytes where its line ends."""
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
            # a record from another version of nucdet may have other fields
            return StoredPlane(ImageRecord(**content["record"]), content["table"], content["sizes"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
