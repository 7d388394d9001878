"""Reads a JSON file of any size entry by entry, in memory for one entry instead of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from nucdet.errors import InputError

_CHUNK = 1 << 16  # bytes that the parser reads at a time
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # written by some editors, refused by the parser


def stream_entries(
    path: Path, on_read: Callable[[int], Any] = lambda count: None
) -> Iterator[tuple[str, Any]]:
    """Iterate over a JSON object whose members are lists or objects, such as a COCO file.

    Args:
        path: the file, in UTF-8.
        on_read: called with the number of bytes after each read, for a progress bar.

    Yields:
        ``(name of the member, entry)`` for each entry of a list and each value of an object, in the
        order of the file; a member that is neither is yielded as a single entry.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not such a JSON, or is cut off.
    """
    with path.open("rb") as file:
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        try:
            yield from _entries(
                ijson.basic_parse(_Counted(file, on_read), use_float=True, buf_size=_CHUNK)
            )
        except RecursionError:
            raise InputError(f"{path}: nested too deeply; expected a COCO JSON") from None
        except ijson.JSONError as error:
            raise InputError(
                f"{path}: cut off or not a COCO JSON ({_reason(error)}); download it again"
            ) from None


class _Counted:
    """A file that reports how much of it has been read."""

    def __init__(self, file: BinaryIO, on_read: Callable[[int], Any]):
        self.file, self.on_read = file, on_read

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.on_read(len(data))
        return data


def _entries(events: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    if next(events) != ("start_map", None):
        raise ijson.JSONError("expected an object")
    for event, name in events:
        if event == "end_map":  # continue, since the parser raises an error if anything follows
            continue
        event, value = next(events)
        if event not in ("start_map", "start_array"):
            yield name, value
            continue
        for event, value in events:
            if event in ("end_map", "end_array"):
                break
            if event != "map_key":
                yield name, _whole(event, value, events)


def _whole(event: str, value: Any, events: Iterator[tuple[str, Any]]) -> Any:
    """The value that begins with this event; faster than ijson's own builder of objects."""
    if event == "start_array":
        items = []
        for event, value in events:
            if event == "number":
                items.append(value)
            elif event == "end_array":
                return items
            else:
                items.append(_whole(event, value, events))
    if event == "start_map":
        members = {}
        for event, key in events:
            if event == "end_map":
                return members
            members[key] = _whole(*next(events), events)
    return value


def _reason(error: ijson.JSONError) -> str:
    """The parser's message in one line: the error and the text around it."""
    (message,) = error.args
    text = message.decode(errors="replace") if isinstance(message, bytes) else message
    wrong, *around = (line.strip() for line in text.splitlines())
    return f"{wrong} near {around[0]!r}" if around and around[0] else wrong
