"""Checks of the entries of a COCO JSON from any source; all readers of COCO JSON use them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from nucdet.errors import InputError

_LARGEST = 1_000_000  # pixels of a side; more is a mistake and would overflow in COCO's code
_SHOWN = 60  # characters of an entry in a message


def check_id(path: Path, entry: Any, key: str = "id") -> int | str:
    """The id that an entry has under a key.

    Raises:
        InputError: the entry is not an object, lacks the key, or its value is neither a whole
            number nor text.
    """
    if not isinstance(entry, dict) or key not in entry:
        raise InputError(f"{path}: found {_short(entry)}; expected an object with {key}")
    value = entry[key]
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise InputError(
            f"{path}: {key} is {_short(value)} in {_short(entry)}; expected a whole number"
        )
    return value


def check_image_id(path: Path, entry: Any, taken: Container[int | str]) -> int | str:
    """The id of an image, which must not be among the ids of earlier images, ``taken``.

    Raises:
        InputError: see :func:`check_id`, or the id is taken.
    """
    image_id = check_id(path, entry)
    if image_id in taken:
        raise InputError(f"{path}: two images have id {image_id}, expected one")
    return image_id


def check_file_name(path: Path, entry: dict[str, Any]) -> str:
    """The file name of an image.

    Raises:
        InputError: it is missing or not text.
    """
    name = entry.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{path}: image {_short(entry)}: file_name is {_short(name)}, no text")
    return name


def check_size(path: Path, entry: dict[str, Any]) -> tuple[int, int]:
    """Height and width of an image.

    Raises:
        InputError: one is missing or not a whole number above 0.
    """
    for key in ("height", "width"):
        value = entry.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LARGEST:
            raise InputError(
                f"{path}: image {_short(entry)}: {key} is {_short(value)}; expected a whole number "
                f"of pixels, 1 to {_LARGEST}"
            )
    return entry["height"], entry["width"]


def check_categories(path: Path, entries: Iterable[Any]) -> dict[int | str, str]:
    """The name of each category id.

    Raises:
        InputError: an id or a name is missing or of another type, or two categories share an id.
    """
    names: dict[int | str, str] = {}
    for entry in entries:
        number, name = check_id(path, entry), entry.get("name")
        if not isinstance(name, str):
            raise InputError(f"{path}: category {_short(entry)}: name is {_short(name)}, no text")
        if names.setdefault(number, name) != name:
            raise InputError(f"{path}: two categories have id {number}, expected one")
    return names


def check_segmentation(path: Path, entry: dict[str, Any]) -> dict[str, Any] | list[Any]:
    """The outline of an annotation: RLE or polygons.

    Raises:
        InputError: it is missing, empty (the nucleus would be dropped silently), or neither.
    """
    outline = entry.get("segmentation")
    if not outline or not isinstance(outline, (dict, list)):
        raise InputError(
            f"{path}: annotation {_short(entry)}: segmentation is {_short(outline)}; expected "
            "polygons or RLE"
        )
    return outline


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
