"""How a user's mistake travels: one exception type, one line on the screen, exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(ValueError):
    """A mistake in what the user gave (a file, a config value, an argument), not in nucdet.

    The message is one line that names the file, what was found, what was expected and what to do.
    Library callers catch it as ``ValueError``; tools turn it into that line and exit code 2, while
    any other ``ValueError`` keeps its traceback, since that is a bug.
    """


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a command line's ``main`` and exit the process with its code.

    User mistakes (:class:`InputError`) and what the file system refuses (:class:`OSError`: missing
    file, no permission, full disk) end with one line on stderr and code 2; Ctrl-C with code 130.
    """
    try:
        code = main() or 0
    except InputError as error:
        code = _complain(_own_words(error))
    except OSError as error:
        # str(OSError) may start with "[Errno 13]", which tells a user nothing
        named = f"{error.filename}: " if error.filename else ""
        code = _complain(named + (error.strerror or str(error)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def _own_words(error: InputError) -> str:
    """The message, also where torch's data loader wrapped it in the traceback of its process."""
    text = str(error)
    if "Original Traceback" not in text:
        return text
    return text[text.rindex(f"{InputError.__name__}: ") :].partition(": ")[2]


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2
