"""Finds the images of a prediction run and chooses the names of their outputs."""

from __future__ import annotations

import functools
import glob
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nucdet.data.conversion.label_files import is_output, names_of_all
from nucdet.data.io.bioio_stacks import BIOIO_READERS, FOREIGN_ENDINGS, is_image
from nucdet.data.io.ome_sets import without_repetitions
from nucdet.errors import InputError
from nucdet.files import printable
from nucdet.image_names import check_distinct, composed, output_names, stem_of

# extensions of the files that are searched for in folders; single files and patterns may have any
_PLAIN_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# TIFFs under other names: of OME-TIFF above 4 GB, Zeiss, MetaMorph and Akoya
_TIFF_ENDINGS = (".btf", ".tf2", ".tf8", ".lsm", ".stk", ".qptiff")
# including formats that cannot be read, so that the run reports such files as failed
IMAGE_ENDINGS = (*_PLAIN_ENDINGS, *_TIFF_ENDINGS, *BIOIO_READERS, *FOREIGN_ENDINGS)

# the subfolder of the output folder that holds a record of each image, <name>.json
RECORDS = ".records"


@dataclass(frozen=True)
class InputFile:
    """An image to predict.

    Attributes:
        path: the absolute path.
        file_name: the path relative to the common folder of all inputs, with "/".
        name: the stem of its outputs, relative to the output folder: ``file_name`` without its
            extension, or with it where two names would otherwise be the same.
        channels: names and absolute paths of the files that hold a channel of this image each,
            among them ``path``, which shows the nuclei; empty: ``path`` is the whole image.
    """

    path: Path
    file_name: str
    name: str
    channels: tuple[tuple[str, Path], ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files of the image, the one that shows the nuclei first."""
        return (self.path, *(path for _, path in self.channels if path != self.path))


def find_inputs(inputs: Sequence[str], output: Path) -> list[InputFile]:
    """Find the images that ``--input`` names, sorted by file name.

    Args:
        inputs: files; folders, searched recursively for :data:`IMAGE_ENDINGS`; patterns with ``*``,
            ``?``, ``**``. From folders and patterns, hidden files and files in the output folder
            are left out, so that an earlier run's outputs are not predicted. From folders, hidden
            subfolders are also left out, and so are links to folders, label files next to their
            image and outputs of earlier runs in other places; a line on the screen reports those.
        output: the output folder.

    Raises:
        FileNotFoundError: there is no such file or folder.
        InputError: no images were found, a name is not UTF-8, or the outputs of two images would
            have the same name, or one that looks the same.
    """
    roots, paths = [], []
    for text in inputs:
        root, found = _expand(text, _absolute(output))
        roots.append(root)
        paths += found
    shared = Path(os.path.commonpath(roots))
    names = sorted({path.relative_to(shared).as_posix() for path in paths})
    _check_text(names)
    check_distinct(shared / name for name in names)
    outputs = output_names(names)
    return [
        InputFile(shared / file_name, file_name, name)
        for file_name, name in zip(names, outputs, strict=True)
    ]


def _expand(text: str, output: Path) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the images of one input."""
    if not text.strip():
        raise InputError("--input '': expected a file, a folder (. for this one) or a pattern")
    path = _absolute(text)
    if _is_image(path):
        return path.parent, [path]
    if path.is_dir():
        everything = list(path.rglob("*"))
        _report_links(text, path, [f for f in everything if f.is_symlink() and f != output])
        root, found = path, [f for f in everything if f.suffix.lower() in IMAGE_ENDINGS]
        # hidden folders hold a file server's thumbnails or copies of a notebook's images
        found = [f for f in found if not any(map(_is_hidden, f.relative_to(path).parent.parts))]
        expected = f"images ({' '.join(IMAGE_ENDINGS)})"
    elif glob.has_magic(text):
        root = _fixed_part(path)
        # Path.glob takes no absolute pattern
        found = [Path(f) for f in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        expected = "files that the pattern fits"
    else:
        raise FileNotFoundError(
            f"{text}: no such file or folder; --input takes files, folders and patterns "
            "(KEY VALUE pairs go after another option)"
        )
    found = [f for f in found if _is_image(f) and not _is_hidden(f.name)]
    found = _without_repetitions(text, found)
    left = [f for f in found if not f.is_relative_to(output)]
    if not left:
        where = f"; all {len(found)} lie in the output folder {output}" if found else ""
        raise InputError(f"{text}: found no {expected}{where}")
    return root, _without_labels(text, left) if path.is_dir() else left


def _report_links(text: str, folder: Path, links: list[Path]) -> None:
    """Print which links in a folder are not followed: those to folders, as they may lead in
    circles, and those of images to where nothing is."""
    left = [f for f in links if not any(map(_is_hidden, f.relative_to(folder).parts))]
    left = [f for f in left if f.is_dir() or f.suffix.lower() in IMAGE_ENDINGS]
    left = sorted(f for f in left if not _is_image(f))
    if left:
        print(
            f"{printable(text)}: left out {len(left)} links to folders, or to files that do not "
            f"exist ({printable(left[0].name)}); to predict what such a folder holds, name it as "
            "--input"
        )


def _without_repetitions(text: str, files: list[Path]) -> list[Path]:
    """One file of each OME-TIFF that is divided among several files."""
    kept = without_repetitions(sorted(files))
    if len(kept) < len(files):
        name = printable(min(set(files) - set(kept)).name)
        print(
            f"{printable(text)}: left out {len(files) - len(kept)} of {len(files)} images, as they "
            f"are parts of an OME-TIFF that is read from another of its files ({name})"
        )
    return kept


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Remove "..", which would place outputs outside their folder and give a file two paths."""
    return Path(os.path.abspath(path))  # noqa: PTH100  Path.absolute() keeps ".."


def _check_text(names: Sequence[str]) -> None:
    """Raise InputError if a name is not UTF-8, which tables, JSON and the report require."""
    bad = [name for name in names if printable(name) != name]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise InputError(
            f"{printable(bad[0])}{more}: the name of the file is not UTF-8, which the tables and "
            "the report need; rename it"
        )


def _without_labels(text: str, files: list[Path]) -> list[Path]:
    """The files of a folder without those that are named like labels or outputs of an image.

    That image either lies in the same folder, or an earlier run wrote its outputs there.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)

    @functools.cache
    def names_in(folder: Path) -> set[str]:
        return names_of_all(by_folder.get(folder, ())) | _recorded(folder)

    def is_of_an_image(file: Path) -> bool:
        folder = file.parent
        # the overlays of a stack's planes lie in a folder with the name of an output
        return is_output(stem_of(file.name), names_in(folder)) or is_output(
            folder.name, names_in(folder.parent)
        )

    labels = {file: None for file in files if is_of_an_image(file)}
    if not labels:
        return files
    name = printable(next(iter(labels)).name)
    if len(labels) == len(files):
        raise InputError(f"{text}: found no images but outputs of an earlier run ({name})")
    print(
        f"{printable(text)}: left out {len(labels)} of {len(files)} images, as they are named as "
        f"labels of one beside them, or as outputs of an earlier run ({name}); to predict one, "
        "name it"
    )
    return [file for file in files if file not in labels]


def _recorded(folder: Path) -> set[str]:
    """The names, composed, of the images whose outputs earlier runs wrote into a folder."""
    outputs = (folder, *folder.parents)
    records = (output / RECORDS / folder.relative_to(output) for output in outputs)
    return {composed(record.stem) for place in records for record in place.glob("*.json")}


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_image(path: Path) -> bool:
    """Whether a path is a file outside any OME-Zarr, or the folder of an OME-Zarr."""
    inside = any(parent.suffix.lower() == ".zarr" for parent in path.parents)
    return not inside and is_image(path)


def _fixed_part(pattern: Path) -> Path:
    """The folders before the first wildcard."""
    parts = []
    for part in pattern.parent.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)
