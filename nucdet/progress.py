"""How far a long command is: a bar on a terminal, a line every 30 seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TextIO, TypeVar

from tqdm import tqdm

PERIOD = 30.0  # seconds between two lines

_Item = TypeVar("_Item")


class ProgressBar(Generic[_Item]):
    """A bar on stderr while that is a terminal; else a line there every :data:`PERIOD` seconds.

    A command that ends sooner leaves no line in a log. Example::

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
            items: to go through; none where :meth:`update` counts.
            name: of what is done, e.g. "converting".
            total: of the units; None: as many as there are items, if they have a length.
            unit: what is counted, in the singular; bytes are "B".
            show: False: say nothing, as all processes but the main one do.
        """
        self._items, self._name, self._unit = items, name, unit
        self._total = total if total is not None or not hasattr(items, "__len__") else len(items)
        # tqdm's None leaves the bar out where the screen is no terminal
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
        """So many more are done."""
        self._done += count
        self._bar.update(count)
        self._print_line()

    def reach(self, done: int) -> None:
        """So many are done; fewer than before change nothing."""
        self.update(max(0, done - self._done))

    def grow(self, count: int) -> None:
        """There are so many more to do than was known."""
        if self._total is not None:
            self._total = self._bar.total = self._total + count
        self._bar.refresh()

    def note(self, text: str) -> None:
        """Show behind the count what is being done, or how far."""
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
