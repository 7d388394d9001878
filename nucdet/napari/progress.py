"""How long work reports to whoever waits for it, and how it is told to stop."""

from __future__ import annotations

from collections.abc import Callable

# Called as ``progress(done, total, text)`` now and then; it raises Cancelled where the work is to
# stop. A total of 0: nobody knows how much there is.
Progress = Callable[[int, int, str], None]


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The user asked to stop."""
