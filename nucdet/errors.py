"""How a user's mistake travels: one exception type, one line on the screen, exit code 2."""

from __future__ import annotations

import difflib
import errno
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable

from nucdet.lifetime import bind_forks

# of the message of an unexpected error, as much as one line can show
_SHOWN = 200

# as the shell has it of a program that a closed pipe ends (128 + SIGPIPE)
_CLOSED_PIPE = 141


class InputError(ValueError):
    """A mistake in what the user gave (a file, a config value, an argument), not in nucdet.

    The message is one line that names the file, what was found, what was expected and what to do.
    Library callers catch it as ``ValueError``; tools turn it into that line and exit code 2, while
    any other ``ValueError`` is a bug: exit code 1, and its traceback is kept in a file.
    """

    def __init__(self, message: str = ""):
        # decoders, whose words it may repeat, speak in several lines
        super().__init__(" ".join(message.split("\n")).strip())


def similar_names(known: Iterable[str], *wanted: str) -> list[str]:
    """What a user may have meant by a name that does not exist, for a message.

    Args:
        known: the names that do exist.
        wanted: the name that was given; behind it shorter forms of it, best first.

    Returns:
        Those that contain the first of ``wanted`` that any contains; else those that are spelt
        alike; else none.

    Example:
        >>> similar_names(["unet_small", "unet_lite0", "fcn8s"], "UNet")
        ['unet_lite0', 'unet_small']
        >>> similar_names(["unet_small", "unet_lite0", "fcn8s"], "unet_smal0")
        ['unet_small', 'unet_lite0']
    """
    names = sorted(known)
    for part in filter(None, wanted):
        if found := [name for name in names if part.lower() in name.lower()]:
            return found
    return difflib.get_close_matches(wanted[0], names)


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a command line's ``main`` and exit the process with its code.

    User mistakes (:class:`InputError`) and what the file system refuses (:class:`OSError`: missing
    file, no permission, full disk) end with one line on stderr and code 2; Ctrl-C with code 130; a
    reader of the output that has seen enough (``| head``) with code 141.
    Any other exception is a bug of nucdet: one line with code 1, which names a log file in the
    folder for temporary files that holds the traceback. Processes that the tool forks end with it.
    """
    bind_forks()
    try:
        code = main() or 0
        print(end="", flush=True)  # here, where a closed pipe is understood
    except InputError as error:
        code = _complain(_own_words(error))
    except BrokenPipeError:
        code = _CLOSED_PIPE
        # else Python would complain when it flushes the output at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # str(OSError) may start with "[Errno 13]", which tells a user nothing
        named = f"{error.filename}: " if error.filename else ""
        remedy = "; free some, or write to another disk" if error.errno == errno.ENOSPC else ""
        code = _complain(named + (error.strerror or str(error)) + remedy)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except Exception as error:
        code = _report_bug(error)
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


def _report_bug(error: Exception) -> int:
    # of an error in another process, the last line is its own; before it stands the traceback
    lines = str(error).strip().splitlines() or [""]
    message = lines[-1] if "Traceback" in str(error) else lines[0]
    shown = f"{type(error).__name__}: {message}"[:_SHOWN]
    try:
        kept = f"the traceback is in {_keep_traceback(error)}; please send it with a report"
    except OSError as refused:  # a full disk: then the screen is the only place left
        traceback.print_exception(error)
        kept = f"no log could be written ({refused.strerror})"
    print(f"error: unexpected {' '.join(shown.split())}; {kept}", file=sys.stderr)
    return 1


def _keep_traceback(error: Exception) -> str:
    """Write command, versions and traceback into a new file and return its path."""
    handle, path = tempfile.mkstemp(prefix="nucdet-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{shlex.join(sys.argv)}\nPython {sys.version} on {platform.platform()}\n\n")
        traceback.print_exception(error, file=file)
    return path
