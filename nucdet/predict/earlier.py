"""Replace and remove only files that earlier runs wrote into the output folder.

The path of an output may be taken by an input, by labels that a user has corrected, or by another
program's table. On the other hand, outputs of an earlier run must not be mistaken for results of
this one: they are removed if the image fails now, or if it is now predicted as a stack and was a
single image before, or vice versa.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from nucdet.errors import InputError
from nucdet.files import longest_name, printable
from nucdet.predict.formats import FORMATS, plane_folders, plane_paths
from nucdet.predict.inputs import InputFile
from nucdet.predict.records import RecordStore, file_size


def begin(store: RecordStore, file: InputFile, outputs: Collection[Path], is_stack: bool) -> None:
    """Record that these files are about to be written, and remove those of the other kind.

    Their folder is created.

    Args:
        store: the records of the output folder.
        file: the image, which counts as not done until its record is saved.
        outputs: the files to be written for the image.
        is_stack: whether the image is a stack, whose outputs have different names.
    """
    if store.planes(file).exists() != is_stack:
        _remove(set(store.left(file)) - set(outputs))
        remove_planes(store, file)
    store.begin(file, outputs)
    (store.output / file.name).parent.mkdir(parents=True, exist_ok=True)


def fail(store: RecordStore, file: InputFile, error: str) -> None:
    """Record why an image failed, and remove what an earlier run wrote for it.

    Planes of a stack that were predicted before the failed one are kept for ``--resume``.
    """
    _remove(store.left(file))
    if next(iter(store.planes(file)), None) is None:
        remove_planes(store, file)
    store.save_failure(file, error)


def remove_planes(store: RecordStore, file: InputFile, kept: int = 0) -> None:
    """Remove a stack's planes after the first ``kept`` from the records, and their own files."""
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
    """Raise InputError if the name of an output is longer than the file system allows."""
    for path in outputs:
        length, most = len(os.fsencode(path.name)), longest_name(path.parent)
        if length > most:
            raise InputError(
                f"{printable(file.path)}: its output …{path.name[-30:]} would have a name of "
                f"{length} bytes, and {most} are possible; rename the image"
            )


def check_free(outputs: Iterable[Path], inputs: Collection[Path]) -> None:
    """Raise InputError if an output would replace an input.

    Args:
        outputs: the outputs that already exist.
        inputs: the images, with symbolic links resolved.
    """
    for path in outputs:
        if path.resolve() in inputs:
            raise InputError(
                f"{printable(path)}: is given as an image, and an output would replace it; leave "
                "it out of --input, or give another folder as --output"
            )


def check_own(foreign: Sequence[Path]) -> None:
    """Raise InputError if outputs would replace these files, which nucdet did not write."""
    if foreign:
        more = f" and {len(foreign) - 1} more files" if len(foreign) > 1 else ""
        raise InputError(
            f"{printable(foreign[0])}{more}: there already, and not as an earlier run wrote it: no "
            "record in .records names it, or it was changed since; an output would replace it; "
            "move it away, or give another folder as --output"
        )
