"""Copies of chosen planes in the folder of a data set, since training reads only plain images.

An image file that contains nothing but the chosen plane is not copied. Copies are TIFF files with
the stored values, so that training sees exactly what prediction reads from the original.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import tifffile

from nucdet.data.io.choice import Choice
from nucdet.data.io.windows import ImageWindows
from nucdet.files import write_atomically
from nucdet.image_names import output_names

PLANES = "planes"
# the TIFF tag by which copies are told from a user's own files
_SOFTWARE = "nucdet-convert"


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """A folder in that of a data set for copies that are not valid yet, removed at the end.

    It is created when the first copy is written.
    """
    existed = folder.is_dir()
    staging = folder / f".{PLANES}-{os.getpid()}"
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed:
            with suppress(OSError):  # it is not empty, or was never created
                folder.rmdir()


def write_copy(source: ImageWindows, staging: Path) -> Path | None:
    """Write a plane into the staging folder, if its file contains more than this plane.

    Raises:
        InputError: the file is damaged.
        OSError: the copy cannot be written.
    """
    if source.is_whole_file:
        return None
    values = source.values(source.whole())
    if values.dtype == bool:  # as 1-bit images are read
        values = values.astype(np.uint8) * 255
    path = staging / f"{uuid4().hex}.tif"
    with write_atomically(path) as temporary:
        tifffile.imwrite(
            temporary,
            values,
            photometric="rgb" if values.ndim == 3 else "minisblack",
            compression="zlib",
            metadata=None,
            software=_SOFTWARE,
        )
    return path


def copy_names(folder: Path, images: Sequence[Path], choice: Choice) -> dict[Path, str]:
    """The name of each image's copy relative to the folder of the data set, with forward slashes.

    A copy has the name of the outputs of ``nucdet-predict``, so that ``nucdet-evaluate`` pairs
    them. The name of its folder depends on the choice and on the place of the images: a conversion
    that is interrupted cannot replace copies that the JSON files of another one name.

    Raises:
        InputError: two copies would have the same name.
    """
    if not images:
        return {}
    shared = Path(os.path.commonpath([image.parent.resolve() for image in images]))
    names = [(image.parent.resolve() / image.name).relative_to(shared) for image in images]
    chosen = "_".join(f"{axis}-{value}" for axis, value in choice.chosen().items())
    place = Path(os.path.relpath(shared, folder.resolve())).as_posix()
    number = hashlib.sha256(f"{place} {chosen}".encode(errors="surrogateescape")).hexdigest()[:8]
    parts = [re.sub(r"[^\w-]+", "_", chosen), number]
    inside = f"{PLANES}/{'_'.join(filter(None, parts))}"
    outputs = output_names([name.as_posix() for name in names])
    return {image: f"{inside}/{name}.tif" for image, name in zip(images, outputs, strict=True)}


def remove_stale(folder: Path, used: Collection[str]) -> None:
    """Remove the copies in the folder of a data set that no JSON of it names, and those that a
    killed conversion has not finished.

    Args:
        folder: of the data set.
        used: the file names in its JSON files. Files that are no copies stay, whatever their name.
    """
    for staging in folder.glob(f".{PLANES}-*"):
        shutil.rmtree(staging, ignore_errors=True)
    for path in sorted((folder / PLANES).rglob("*.tif")):
        if path.relative_to(folder).as_posix() in used or not _is_copy(path):
            continue
        path.unlink()
        with suppress(OSError):  # a folder is not empty
            for inside in path.relative_to(folder).parents[:-1]:
                (folder / inside).rmdir()


def _is_copy(path: Path) -> bool:
    try:
        with tifffile.TiffFile(path) as tiff:
            return tiff.pages[0].tags.valueof("Software") == _SOFTWARE
    except Exception:  # for damaged files, tifffile may raise nearly anything
        return False
