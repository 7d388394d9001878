"""What earlier runs wrote into the output folder: nothing else is replaced or removed.

An input, labels that a user has corrected, or a table of another program may lie where an output
would go. And what an earlier run left must not pass for a result of this one: it is removed where
an image fails now, or becomes a stack where it was an image or the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from nucdet.errors import InputError
from nucdet.files import longest_name, printable
from nucdet.predict.files import InputFile
from nucdet.predict.formats import FORMATS, plane_folders, plane_paths
from nucdet.predict.records import RecordStore, file_size


def begin(store: RecordStore, file: InputFile, outputs: Collection[Path], is_stack: bool) -> None:
    """Keep that these files are about to be written, and remove those of the other kind.

    Args:
        store: of the output folder.
        file: the image, which counts as not done from here to the end.
        outputs: of the image.
        is_stack: whether the image is a stack, whose outputs have other names.
    """
    if store.planes(file).exists() != is_stack:
        _remove(set(store.left(file)) - set(outputs))
        remove_planes(store, file)
    store.begin(file, outputs)


def fail(store: RecordStore, file: InputFile, error: str) -> None:
    """Keep why an image failed, and remove what an earlier run wrote for it.

    Planes of a stack that were predicted before the one that failed stay for ``--resume``.
    """
    _remove(store.left(file))
    if next(iter(store.planes(file)), None) is None:
        remove_planes(store, file)
    store.save(file, None, error)


def remove_planes(store: RecordStore, file: InputFile, kept: int = 0) -> None:
    """Forget the planes of a stack from this one on, and remove the files that they have alone."""
    for plane in islice(store.planes(file).of_any_run(), kept, None):
        name = plane.record.plane_name
        paths = plane_paths(store.output, file.name, name, tuple(plane.sizes))
        _remove(path for key, path in paths.items() if file_size(path) == plane.sizes[key])
    if not kept:
        store.planes(file).clear()
        for folder in plane_folders(store.output, file.name, tuple(FORMATS)).values():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def check_names(file: InputFile, outputs: Iterable[Path]) -> None:
    """Raise InputError if the name of an output is longer than the file system takes."""
    for path in outputs:
        length, most = len(os.fsencode(path.name)), longest_name(path.parent)
        if length > most:
            raise InputError(
                f"{printable(file.path)}: its output …{path.name[-30:]} would have a name of "
                f"{length} bytes, and {most} are possible; rename the image"
            )


def check_free(outputs: Iterable[Path], inputs: Collection[Path]) -> None:
    """Raise InputError where an output would replace an input.

    Args:
        outputs: those that are there already.
        inputs: the images, without links in their paths.
    """
    for path in outputs:
        if path.resolve() in inputs:
            raise InputError(
                f"{printable(path)}: is given as an image, and an output would replace it; leave "
                "it out of --input, or give another folder as --output"
            )


def check_own(foreign: Sequence[Path]) -> None:
    """Raise InputError where outputs would replace what nucdet did not write."""
    if foreign:
        more = f" and {len(foreign) - 1} more files" if len(foreign) > 1 else ""
        raise InputError(
            f"{printable(foreign[0])}{more}: there already, and not as an earlier run wrote it: no "
            "record in .records names it, or it was changed since; an output would replace it; "
            "move it away, or give another folder as --output"
        )
