"""The interface by which long computations report their progress and are stopped."""

from __future__ import annotations

from collections.abc import Callable

# Called repeatedly as ``progress(done, total, text)``; a total of 0 means that it is unknown. It
# raises Cancelled to stop the computation.
Progress = Callable[[int, int, str], None]


class Cancelled(Exception):  # noqa: N818 - not an error
    """The user asked to stop."""
