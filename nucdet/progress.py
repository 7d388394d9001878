"""The progress of a long command: a bar on a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TextIO, TypeVar

from tqdm import tqdm

PERIOD = 30.0  # seconds between two lines

_Item = TypeVar("_Item")


class ProgressBar(Generic[_Item]):
    """A bar on stderr if that is a terminal, otherwise a line every :data:`PERIOD` seconds.

    A command that ends sooner writes no line to a log. Example::

        for image in ProgressBar(images, "converting"):
            ...
        with ProgressBar(name="reading", total=size, unit="B") as progress:
            progress.update(1024)
    """

    def __init__(
        self,
        items: Iterable[_Item] = (),
        name: str = "",
        total: int | None = None,
        unit: str = "image",
        show: bool = True,
    ):
        """
        Args:
            items: the items to iterate over; none if progress is counted with :meth:`update`.
            name: what is being done, e.g. "converting".
            total: the number of units; None: the number of items, if they have a length.
            unit: what is counted, in the singular; "B" for bytes.
            show: False: print nothing, as in all processes but the main one.
        """
        self._items, self._name, self._unit = items, name, unit
        self._total = total if total is not None or not hasattr(items, "__len__") else len(items)
        # with disable=None, tqdm shows no bar if the output is not a terminal
        self._bar = tqdm(
            total=self._total,
            desc=name,
            unit=unit,
            unit_scale=unit == "B",
            disable=None if show else True,
        )
        self._has_lines = show and self._bar.disable
        self._done, self._note = 0, ""
        self._start = self._last = time.monotonic()

    def __iter__(self) -> Iterator[_Item]:
        with self:
            for item in self._items:
                yield item
                self.update()

    def __enter__(self) -> ProgressBar[_Item]:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, count: int = 1) -> None:
        """Count this many more units as done."""
        self._done += count
        self._bar.update(count)
        self._print_line()

    def reach(self, done: int) -> None:
        """Set how many units are done in all; a smaller number than before changes nothing."""
        self.update(max(0, done - self._done))

    def grow(self, count: int) -> None:
        """Increase the total by this many units."""
        if self._total is not None:
            self._total = self._bar.total = self._total + count
        self._bar.refresh()

    def note(self, text: str) -> None:
        """Show a text after the count: what is being done, or details of the progress."""
        self._note = text
        self._bar.set_postfix_str(text)
        self._print_line()

    @staticmethod
    def write(text: str, file: TextIO | None = None) -> None:
        """Print a line above the bar, on stderr or another file."""
        tqdm.write(text, file=file or sys.stderr)

    def _print_line(self) -> None:
        now = time.monotonic()
        if self._has_lines and now - self._last >= PERIOD:
            self._last = now
            print(self._line(now - self._start), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        if self._unit == "B":
            done, total, unit = self._done / 1e6, (self._total or 0) / 1e6, "MB"
        else:
            done, total, unit = self._done, self._total or 0, f"{self._unit}s"
        count = f"{done:.0f} of {total:.0f} {unit}" if total else f"{done:.0f} {unit}"
        parts = [f"{self._name}: {count}", f"{tqdm.format_interval(seconds)} so far"]
        if total and self._done:
            parts.append(f"about {tqdm.format_interval(round(seconds * (total / done - 1)))} left")
        return ", ".join([*parts, self._note] if self._note else parts)
