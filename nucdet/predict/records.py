"""Which images of a prediction run are done, kept so that ``--resume`` can go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from nucdet.export import ImageRecord
from nucdet.files import digest, write_json
from nucdet.predict.files import InputFile
from nucdet.predict.plane_records import PlaneRecords


class StackFacts(NamedTuple):
    """What is kept of a stack beside the list of its planes: how many, and µm or None."""

    planes: int
    pixel_size: float | None


class Outcome(NamedTuple):
    """What became of an image.

    Attributes:
        is_done: whether it was predicted.
        planes: of a stack; 0: it is one image.
        pixel_size: µm, or None.
        error: why it failed.
    """

    is_done: bool = False
    planes: int = 0
    pixel_size: float | None = None
    error: str | None = None


class RecordStore:
    """A small JSON for each image that was predicted or failed, in ``<output>/.records``.

    It is written last of an image's files, tells a resumed run what is done and how large the files
    are, and holds what the files over all images need. A record that is damaged or was made by
    another program counts as not there: each holds the sha256 of its content.
    """

    def __init__(self, output: Path, settings: str):
        """
        Args:
            output: the output folder.
            settings: what the results depend on beside the image; a record made with another
                text counts as not there.
        """
        self._folder = output / ".records"
        self._settings = settings

    def save(
        self,
        file: InputFile,
        record: ImageRecord | None,
        error: str | None = None,
        outputs: Iterable[Path] = (),
        stack: StackFacts | None = None,
    ) -> None:
        """Keep an image's record, or why it has none.

        Args:
            file: the image.
            record: what the files over all images need of it.
            error: why it failed.
            outputs: its files, already written; :meth:`is_done` compares their sizes.
            stack: in place of a record, of a file whose planes are done.
        """
        sizes = {path.name: path.stat().st_size for path in outputs}
        content = {"record": record and asdict(record), "error": error, "sizes": sizes}
        content |= {"stack": stack and stack._asdict()} | self._key(file)
        write_json(self.path(file), content | {"sha256": digest(content)})

    def forget(self, file: InputFile) -> None:
        """Remove the record, before the image's files are written anew."""
        self.path(file).unlink(missing_ok=True)

    def planes(self, file: InputFile) -> PlaneRecords:
        """The planes that are done of a stack."""
        return PlaneRecords(self._folder / f"{file.name}.jsonl", self._key(file))

    def of_file(self, file: InputFile) -> Iterator[ImageRecord]:
        """The records of an image, or of the planes of a stack, predicted with these settings."""
        content = self._load(file)
        if content.get("record"):
            yield ImageRecord(**content["record"])
        elif content.get("stack"):
            yield from (plane.record for plane in self.planes(file))

    def records(self, files: Sequence[InputFile]) -> Records:
        """The records of those images that were predicted, see :class:`Records`."""
        return Records(self, files)

    def outcome(self, file: InputFile) -> Outcome:
        """What became of the image with these settings."""
        content = self._load(file)
        found = content.get("record") or content.get("stack")
        if not found:
            return Outcome(error=content.get("error"))
        return Outcome(True, found.get("planes", 0), found["pixel_size"])

    def is_done(self, file: InputFile, outputs: Iterable[Path]) -> bool:
        """Whether the image is predicted with these settings and has all these files whole.

        A file counts as whole when it has the size that it was written with.
        """
        content = self._load(file)
        if not content.get("record") and not content.get("stack"):
            return False
        sizes = content["sizes"]
        return all(file_size(path) == sizes.get(path.name, -1) for path in outputs)

    def path(self, file: InputFile) -> Path:
        """Where the image's record is kept."""
        return self._folder / f"{file.name}.json"

    def _key(self, file: InputFile) -> dict[str, Any]:
        try:
            status = file.path.stat()
            version = [status.st_size, status.st_mtime_ns]
        except OSError:
            version = None
        return {"settings": self._settings, "file": file.file_name, "version": version}

    def _load(self, file: InputFile) -> dict[str, Any]:
        try:
            content = json.loads(self.path(file).read_bytes())
            expected = content.pop("sha256")
            current = all(content[k] == v for k, v in self._key(file).items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
        return content if current and expected == digest(content) else {}


class Records:
    """The records of many images: read anew each time they are gone through, never all at once."""

    def __init__(self, store: RecordStore, files: Sequence[InputFile]):
        """
        Args:
            store: where they are.
            files: the images; those that were not predicted are left out.
        """
        self._store = store
        self._files = files

    def __iter__(self) -> Iterator[ImageRecord]:
        return (record for file in self._files for record in self._store.of_file(file))


def file_size(path: Path) -> int | None:
    """In bytes; None where there is no file."""
    return path.stat().st_size if path.is_file() else None
