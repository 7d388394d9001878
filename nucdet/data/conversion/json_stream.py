"""A JSON file of any size, read entry by entry: memory for one entry, not for the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from nucdet.errors import InputError

_CHUNK = 1 << 20  # characters read at a time
_MAX_ENTRY = 1 << 26  # characters; a LIVECell annotation has some thousands
_DELIMITERS = tuple(",:]} \t\r\n")
_SCAN = json.JSONDecoder().raw_decode


def stream_entries(
    path: Path, on_read: Callable[[int], Any] = lambda count: None
) -> Iterator[tuple[str, Any]]:
    """Walk through a JSON object whose members are lists or objects, as a COCO file's are.

    Args:
        path: the file.
        on_read: called with the number of characters whenever some were read, for a progress bar.

    Yields:
        ``(name of the member, entry)`` for each entry of a list and each value of an object, in the
        file's order; a member that is neither is its own only entry.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not such a JSON, or breaks off.
    """
    with path.open(encoding="utf-8-sig") as file:
        window = _Window(path, file, on_read)
        window.take("{")
        for _ in window.until("}"):
            name = window.key()
            opened = window.peek()
            if opened == "[":
                window.take("[")
                for _ in window.until("]"):
                    yield name, window.value()
            elif opened == "{":
                window.take("{")
                for _ in window.until("}"):
                    window.key()
                    yield name, window.value()
            else:
                yield name, window.value()
        if window.peek():
            raise window.error("the end of the file")


class _Window:
    """The part of the text that is in memory, and how far it has been read."""

    def __init__(self, path: Path, file: TextIO, on_read: Callable[[int], Any]):
        self.path, self.file, self.on_read = path, file, on_read
        self.text, self.at = "", 0

    def peek(self) -> str:
        """The next character that is no white space; "" at the end of the file."""
        while True:
            rest = self.text[self.at : self.at + 1]
            if rest and not rest.isspace():
                return rest
            if rest:
                self.at += 1
            elif not self._read(_CHUNK):
                return ""

    def take(self, expected: str) -> None:
        if self.peek() != expected:
            raise self.error(repr(expected))
        self.at += 1

    def until(self, closing: str) -> Iterator[None]:
        """Once for each of the entries parted by commas, up to the closing bracket."""
        if self.peek() == closing:
            self.at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self.at += 1
                return
            self.take(",")

    def key(self) -> str:
        if self.peek() != '"':
            raise self.error("a name in quotes")
        name = self.value()
        self.take(":")
        return name

    def value(self) -> Any:
        """Decode the value that starts here, reading on until it is whole."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, end = _SCAN(self.text, self.at)
            except json.JSONDecodeError as error:
                # not whole yet, or no JSON at all: only reading on can tell
                if len(self.text) - self.at > _MAX_ENTRY or not self._read(size):
                    raise self._broken_entry(error.msg) from None
            else:
                # a number that reaches the end of the window ("1", "1.", "1e") may go on
                if self.text[end : end + 1] in _DELIMITERS or not self._read(size):
                    self.at = end
                    return value
            size *= 2

    def error(self, expected: str) -> InputError:
        found = self.text[self.at : self.at + 20]
        where = f"found {found!r}" if found else "it breaks off"
        return InputError(
            f"{self.path}: not a whole COCO JSON: {where}, expected {expected}; download it again"
        )

    def _broken_entry(self, reason: str) -> InputError:
        start = self.text[self.at : self.at + 40]
        return InputError(
            f"{self.path}: cut off or not JSON ({reason}) in the entry that starts with {start!r}; "
            "download it again"
        )

    def _read(self, size: int) -> bool:
        try:
            more = self.file.read(size)
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path}: not a JSON text file ({error})") from None
        if more:
            self.text, self.at = self.text[self.at :] + more, 0
            self.on_read(len(more))
        return bool(more)
