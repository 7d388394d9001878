"""Records of the finished images of a prediction run, so that ``--resume`` can continue it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucdet.export import ImageRecord
from nucdet.files import digest, write_json
from nucdet.predict.inputs import RECORDS, InputFile
from nucdet.predict.plane_records import PlaneRecords


class StackFacts(NamedTuple):
    """What is stored of a stack in addition to the list of its planes.

    Attributes:
        planes: the number of planes.
        pixel_size: µm, or None.
    """

    planes: int
    pixel_size: float | None


class Outcome(NamedTuple):
    """The outcome of an image with the current settings.

    Attributes:
        is_predicted: whether it was predicted; ``is_done`` also checks that its files exist.
        planes: the number of planes of a stack; 0: a single image.
        pixel_size: µm, or None.
        error: why it failed, or None.
    """

    is_predicted: bool = False
    planes: int = 0
    pixel_size: float | None = None
    error: str | None = None


class RecordStore:
    """A small JSON file for each image that was predicted or failed, in ``<output>/.records``.

    It is written after the image's other files. It tells a resumed run that the image is done and
    how large its files are, and contains the data for the files that cover all images. It also
    names the files that earlier runs wrote for the image, so that a run knows which files it may
    replace or remove. Each record contains the sha256 of its content; one that is damaged or was
    written by another program is ignored.

    Attributes:
        output: the output folder.
        shared_path: path of the list of the files covering all images that nucdet wrote.
    """

    def __init__(self, output: Path, settings: str):
        """
        Args:
            output: the output folder.
            settings: hash of what the results depend on in addition to the image; records with
                other settings are ignored.
        """
        self.output = output
        self._folder = output / RECORDS
        # no image has this name, see nucdet.predict.inputs
        self.shared_path = self._folder / "summary.json"
        self._settings = settings

    def begin(self, file: InputFile, outputs: Iterable[Path]) -> None:
        """Record that an image's files are about to be written; it is not done until saved."""
        written = self.written(file) | dict.fromkeys(path.name for path in outputs)
        self._save(file, {"sizes": {}, "earlier": written})

    def save(self, file: InputFile, record: ImageRecord, outputs: Iterable[Path] = ()) -> None:
        """Save the record of a predicted image.

        Args:
            file: the image.
            record: the data for the files that cover all images.
            outputs: its files, already written; :meth:`is_done` compares their sizes.
        """
        self._save_outcome(file, {"record": vars(record)}, outputs)

    def save_stack(self, file: InputFile, facts: StackFacts, outputs: Iterable[Path]) -> None:
        """:meth:`save` for a stack, all planes of which are done."""
        self._save_outcome(file, {"stack": facts._asdict()}, outputs)

    def save_failure(self, file: InputFile, error: str) -> None:
        """Save the reason why an image could not be predicted."""
        self._save_outcome(file, {"error": error}, ())

    def _save_outcome(
        self, file: InputFile, outcome: dict[str, Any], outputs: Iterable[Path]
    ) -> None:
        sizes = {path.name: path.stat().st_size for path in outputs}
        earlier = {name: size for name, size in self.written(file).items() if name not in sizes}
        content = {"record": None, "error": None, "sizes": sizes, "stack": None} | outcome
        self._save(file, content | {"earlier": self._unchanged(file, earlier)})

    def written(self, file: InputFile) -> dict[str, int | None]:
        """The names of all files that nucdet wrote for an image, with any version and settings.

        Returns:
            Their sizes in bytes; None: unknown, because a run was killed while writing them.
        """
        return _written(self._read(file))

    def left(self, file: InputFile) -> list[Path]:
        """The files in :meth:`written` that exist with the size they were written with."""
        unchanged = self._unchanged(file, self.written(file))
        return [path for path in map(self._output_path(file), unchanged) if path.is_file()]

    def foreign(self, file: InputFile, there: Sequence[Path]) -> list[Path]:
        """The existing outputs of an image that are not as nucdet wrote them.

        The record names all files that nucdet wrote; a user may have corrected some of them since.

        Args:
            file: the image.
            there: those of its outputs that exist.
        """
        if not there:
            return []
        content, has_planes = self._read(file), self.planes(file).exists()
        if not content:
            # If a record exists it is damaged, and may have named the files. Earlier versions
            # removed the record of a stack before writing, but not the list of its planes.
            return [] if has_planes or self.path(file).exists() else list(there)
        written, time = _written(content), self.path(file).stat().st_mtime_ns

        def is_own(path: Path) -> bool:
            if path.is_dir():
                return has_planes or path.name in written
            if path.name not in written:
                return False
            size, found = written[path.name], path.stat()
            # a power failure may have cut a file short, but it is not newer than the record; the
            # time alone does not tell, as a copy may keep that of another computer
            is_cut = found.st_size < (size or 0) and found.st_mtime_ns <= time
            return size in (None, found.st_size) or is_cut

        return [path for path in there if not is_own(path)]

    def wrote_shared(self, path: Path) -> bool:
        """Whether nucdet wrote this file, which covers all images."""
        listed = self._listed()
        if listed is None:
            # the list is missing (earlier versions kept none) or damaged
            return self._folder.is_dir() and any(self._folder.iterdir())
        return path.name in listed

    def has_listed(self, path: Path) -> bool:
        """Whether this file, which covers all images, is in the list of those nucdet wrote."""
        return path.name in (self._listed() or ())

    def _listed(self) -> list[str] | None:
        try:
            return list(json.loads(self.shared_path.read_bytes())["files"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def begin_shared(self, outputs: Iterable[Path]) -> None:
        """Record that these files, which cover all images, are about to be written."""
        write_json(self.shared_path, {"files": sorted(path.name for path in outputs)})

    def planes(self, file: InputFile) -> PlaneRecords:
        """The planes of a stack that are done."""
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
        """The outcome of the image with the current settings."""
        content = self._load(file)
        found = content.get("record") or content.get("stack")
        if not found:
            return Outcome(error=content.get("error"))
        return Outcome(True, found.get("planes", 0), found["pixel_size"])

    def is_done(self, file: InputFile, outputs: Iterable[Path]) -> bool:
        """Whether the image is predicted with the current settings and these files are complete.

        A file counts as complete if it has the size that it was written with.
        """
        content = self._load(file)
        if not content.get("record") and not content.get("stack"):
            return False
        sizes = content["sizes"]
        return all(file_size(path) == sizes.get(path.name, -1) for path in outputs)

    def path(self, file: InputFile) -> Path:
        """The path of the image's record."""
        return self._folder / f"{file.name}.json"

    def paths(self, file: InputFile) -> list[Path]:
        """The paths of the image's record and, for a stack, of the list of its planes."""
        return [self.path(file), self._folder / f"{file.name}.jsonl"]

    def _key(self, file: InputFile) -> dict[str, Any]:
        try:
            states = [path.stat() for path in file.paths]
            version = [n for state in states for n in (state.st_size, state.st_mtime_ns)]
        except OSError:
            version = None
        return {"settings": self._settings, "file": file.file_name, "version": version}

    def _save(self, file: InputFile, content: dict[str, Any]) -> None:
        content |= self._key(file)
        write_json(self.path(file), content | {"sha256": digest(content)})

    def _output_path(self, file: InputFile) -> Callable[[str], Path]:
        """A function that gives the path of an image's output, by its name."""
        return (self.output / file.name).with_name

    def _unchanged(self, file: InputFile, sizes: dict[str, int | None]) -> dict[str, int | None]:
        """The files that exist with the size they were written with, and existing folders."""

        def is_unchanged(path: Path, size: int | None) -> bool:
            return path.is_dir() or (path.is_file() and size in (None, file_size(path)))

        path_of = self._output_path(file)
        return {name: size for name, size in sizes.items() if is_unchanged(path_of(name), size)}

    def _load(self, file: InputFile) -> dict[str, Any]:
        """The record, or {} if it is from another version of the image or other settings."""
        content = self._read(file)
        return content if self._key(file).items() <= content.items() else {}

    def _read(self, file: InputFile) -> dict[str, Any]:
        """The record, whatever image and settings it is from; {} if it is missing or damaged."""
        try:
            content = json.loads(self.path(file).read_bytes())
            expected = content.pop("sha256")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}
        return content if expected == digest(content) else {}


def _written(content: dict[str, Any]) -> dict[str, int | None]:
    """See :meth:`RecordStore.written`; records of earlier versions have no "earlier"."""
    return content.get("earlier", {}) | content.get("sizes", {})


class Records:
    """The records of many images; each iteration reads them from disk, one at a time."""

    def __init__(self, store: RecordStore, files: Sequence[InputFile]):
        """
        Args:
            store: the records of the output folder.
            files: the images; those that were not predicted are skipped.
        """
        self._store = store
        self._files = files

    def __iter__(self) -> Iterator[ImageRecord]:
        return (record for file in self._files for record in self._store.of_file(file))


def file_size(path: Path) -> int | None:
    """The size in bytes; None if there is no such file."""
    return path.stat().st_size if path.is_file() else None
