"""Which images of a prediction run are done, kept so that ``--resume`` can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucdet.export import ImageRecord
from nucdet.files import digest, write_json
from nucdet.predict.files import RECORDS, InputFile
from nucdet.predict.plane_records import PlaneRecords


class StackFacts(NamedTuple):
    """What is kept of a stack beside the list of its planes: how many, and µm or None."""

    planes: int
    pixel_size: float | None


class Outcome(NamedTuple):
    """What became of an image.

    Attributes:
        is_predicted: with these settings; whether its files are there is asked by ``is_done``.
        planes: of a stack; 0: it is one image.
        pixel_size: µm, or None.
        error: why it failed.
    """

    is_predicted: bool = False
    planes: int = 0
    pixel_size: float | None = None
    error: str | None = None


class RecordStore:
    """A small JSON for each image that was predicted or failed, in ``<output>/.records``.

    It is written last of an image's files, tells a resumed run what is done and how large the files
    are, and holds what the files over all images need. A record that is damaged or was made by
    another program counts as not there: each holds the sha256 of its content. It also names what
    earlier runs wrote for the image, so that a run knows which files it may replace and remove.

    Attributes:
        output: the output folder.
        shared_path: of the list of the files over all images that nucdet wrote.
    """

    def __init__(self, output: Path, settings: str):
        """
        Args:
            output: the output folder.
            settings: what the results depend on beside the image; a record made with another
                text counts as not there.
        """
        self.output = output
        self._folder = output / RECORDS
        # no image has this name, see nucdet.predict.files
        self.shared_path = self._folder / "summary.json"
        self._settings = settings

    def begin(self, file: InputFile, outputs: Iterable[Path]) -> None:
        """Keep that these files of an image are about to be written; it counts as not done then."""
        written = self.written(file) | dict.fromkeys(path.name for path in outputs)
        self._save(file, {"sizes": {}, "earlier": written})

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
        earlier = {name: size for name, size in self.written(file).items() if name not in sizes}
        content = {"record": record and vars(record), "error": error, "sizes": sizes}
        content |= {"stack": stack and stack._asdict()}
        self._save(file, content | {"earlier": self._unchanged(file, earlier)})

    def written(self, file: InputFile) -> dict[str, int | None]:
        """The names of all that nucdet wrote for an image, by whatever version and settings.

        Returns:
            Their sizes in bytes; None: unknown, as a run was killed that was writing them.
        """
        return _written(self._read(file))

    def left(self, file: InputFile) -> list[Path]:
        """Those of :meth:`written` that are there as they were written; no folders."""
        unchanged = self._unchanged(file, self.written(file))
        return [path for path in map(self._beside(file), unchanged) if path.is_file()]

    def foreign(self, file: InputFile, there: Sequence[Path]) -> list[Path]:
        """Those of an image's outputs that are there, but not as nucdet wrote them.

        A record names all that nucdet wrote; a user may have corrected some of it since.
        """
        if not there:
            return []
        content, has_planes = self._read(file), self.planes(file).exists()
        if not content:
            # earlier versions removed the record before they wrote; a damaged one says nothing
            return [] if has_planes or self.path(file).exists() else list(there)
        written, time = _written(content), self.path(file).stat().st_mtime_ns

        def is_own(path: Path) -> bool:
            if path.is_dir():
                return has_planes or path.name in written
            # where power failed a file may have another size, but it is not newer than the record
            is_changed = written.get(path.name) not in (None, file_size(path))
            return path.name in written and not (is_changed and path.stat().st_mtime_ns > time)

        return [path for path in there if not is_own(path)]

    def wrote_shared(self, path: Path) -> bool:
        """Whether nucdet wrote this file over all images."""
        listed = self._listed()
        if listed is None:
            # earlier versions kept no list, and a damaged one says nothing
            return self._folder.is_dir() and any(self._folder.iterdir())
        return path.name in listed

    def has_listed(self, path: Path) -> bool:
        """Whether this file over all images is in the list of those that nucdet wrote."""
        return path.name in (self._listed() or ())

    def _listed(self) -> list[str] | None:
        try:
            return list(json.loads(self.shared_path.read_bytes())["files"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def begin_shared(self, outputs: Iterable[Path]) -> None:
        """Keep that these files over all images are about to be written."""
        write_json(self.shared_path, {"files": sorted(path.name for path in outputs)})

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

    def paths(self, file: InputFile) -> list[Path]:
        """Where the image's record, and the list of a stack's planes, are kept."""
        return [self.path(file), self._folder / f"{file.name}.jsonl"]

    def _key(self, file: InputFile) -> dict[str, Any]:
        try:
            status = file.path.stat()
            version = [status.st_size, status.st_mtime_ns]
        except OSError:
            version = None
        return {"settings": self._settings, "file": file.file_name, "version": version}

    def _save(self, file: InputFile, content: dict[str, Any]) -> None:
        content |= self._key(file)
        write_json(self.path(file), content | {"sha256": digest(content)})

    def _beside(self, file: InputFile) -> Callable[[str], Path]:
        """Where a file of this name would be written for the image."""
        return (self.output / file.name).with_name

    def _unchanged(self, file: InputFile, sizes: dict[str, int | None]) -> dict[str, int | None]:
        """Those that are there and as large as they were written; others a user has changed."""

        def is_unchanged(path: Path, size: int | None) -> bool:
            return path.is_dir() or (path.is_file() and size in (None, file_size(path)))

        place = self._beside(file)
        return {name: size for name, size in sizes.items() if is_unchanged(place(name), size)}

    def _load(self, file: InputFile) -> dict[str, Any]:
        """The record, if it was made from this image with these settings."""
        content = self._read(file)
        return content if self._key(file).items() <= content.items() else {}

    def _read(self, file: InputFile) -> dict[str, Any]:
        """The record, whatever it was made from; empty where there is none or a damaged one."""
        try:
            content = json.loads(self.path(file).read_bytes())
            expected = content.pop("sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
        return content if expected == digest(content) else {}


def _written(content: dict[str, Any]) -> dict[str, int | None]:
    """What a record says of :meth:`RecordStore.written`; earlier versions had sizes alone."""
    return content.get("earlier", {}) | content.get("sizes", {})


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
