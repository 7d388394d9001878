"""Names of image files: how they are compared, and those that tools give to an image's outputs."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath

from nucdet.errors import InputError

# names of files that cover all images, which the <name>.csv of an image must not replace
_RESERVED = ("summary", "kaggle", "nuclei")


def composed(name: str) -> str:
    """The name in Unicode's composed normal form (NFC), in which names must be compared.

    On macOS, programs often write an accented letter as two characters (NFD), on other systems as
    one; on the screen, they look the same.

    Example:
        >>> composed("Zu\\u0308rich.png") == "Z\\u00fcrich.png"
        True
    """
    return unicodedata.normalize("NFC", name)


def compiled(pattern: str, complaint: str) -> re.Pattern[str]:
    """A regular expression for :func:`composed` names.

    Args:
        pattern: as the user gave it.
        complaint: what the error says before the reason.

    Raises:
        InputError: it is no regular expression.
    """
    try:
        return re.compile(composed(pattern))
    except re.error as error:
        raise InputError(f"{complaint} ({error})") from None


def check_distinct(files: Iterable[PurePath]) -> None:
    """Check that no two files of one folder have names that differ only in their normal form.

    Raises:
        InputError: two have.
    """
    seen: dict[PurePath, PurePath] = {}
    for file in files:
        other = seen.setdefault(file.with_name(composed(file.name)), file)
        if other.name != file.name:
            raise _look_alike(file.parent, other.name, file.name)


def _look_alike(folder: PurePath, one: str, other: str) -> InputError:
    return InputError(
        f"{folder}: found {one} twice, with its letters in two forms of Unicode ({one!a} and "
        f"{other!a}); keep one of the two, or rename one"
    )


class NamedFiles:
    """Finds what is in a folder and below by names that may be in another normal form."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> Path | None:
        """What has a name relative to the folder, with "/" between its parts; None: nothing has.

        Raises:
            InputError: there are two, whose names differ only in their normal form.
        """
        place = self.folder
        for part in PurePosixPath(name).parts:
            found = self._names_in(place).get(composed(part), [])
            if len(found) > 1:
                raise _look_alike(place, *sorted(found)[:2])
            place /= found[0] if found else part  # "..", or a file system that ignores case
        return place if place.exists() else None

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder, by their composed form."""
        if folder not in self._names:
            self._names[folder] = defaultdict(list)
            try:
                for name in os.listdir(folder):  # noqa: PTH208  only names are needed
                    self._names[folder][composed(name)].append(name)
            except OSError:  # no folder, or one that may not be listed
                pass
        return self._names[folder]


def stem_of(file_name: str) -> str:
    """The name without its extension; that of OME files has two parts, ``.ome.tif``.

    Example:
        >>> stem_of("plate/a.png"), stem_of("b.ome.tif"), stem_of("c.d.tif")
        ('plate/a', 'b', 'c.d')
    """
    return file_name.removesuffix(PurePath(file_name).suffix).removesuffix(".ome")


def names_of(file_name: str) -> tuple[str, str, str]:
    """The names that the outputs of an image may start with, without folders, :func:`composed`.

    Other tools remove only the last part of an extension. nucdet removes all of it, or none if two
    images, or an image and a file that covers all images, would otherwise share a name.

    Example:
        >>> names_of("plate/b.ome.tif")
        ('b.ome', 'b', 'b.ome.tif')
    """
    name = composed(PurePath(file_name).name)
    return PurePath(name).stem, stem_of(name), name


def output_names(file_names: Sequence[str]) -> list[str]:
    """A unique name for the outputs of each image.

    Case and the normal form of Unicode are ignored, as in some file systems.

    Args:
        file_names: of the images, with their folders.

    Returns:
        The stem of each or, if another image has the same one, the whole name, with its folders.

    Raises:
        InputError: two images would have the same name.
    """
    stems = [stem_of(name) for name in file_names]
    count = Counter(map(_key, stems))
    count.update(dict.fromkeys(_RESERVED, 1))
    pairs = zip(file_names, stems, strict=True)
    names = [stem if count[_key(stem)] == 1 else name for name, stem in pairs]
    seen: dict[str, str] = {}
    for name, file_name in zip(names, file_names, strict=True):
        other = seen.setdefault(_key(name), file_name)
        if other != file_name:
            raise InputError(
                f"{other} and {file_name}: their outputs would have the same name; rename one or "
                "put them into different folders"
            )
    return names


def _key(name: str) -> str:
    return composed(name.casefold())
