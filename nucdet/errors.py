"""User errors: one exception type, reported in one line on the screen with exit code 2."""

from __future__ import annotations

import difflib
import errno
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable

from nucdet.lifetime import bind_forks

# longest part of an unexpected error's message that is shown, in characters
_SHOWN = 200

# what torch says if one of the processes that load data has ended, except by a bug
_LOST_LOADER = re.compile(
    r"DataLoader worker \(pid\S* [\d, ]+\) (is killed by signal: (Killed|Bus error)|exited \w+)"
)
_MORE_ROOM = (
    "there may be too little memory, or too little shared memory (/dev/shm; for Docker, --shm-size "
    "1g); give it more, or set DATALOADER.NUM_WORKERS 0"
)

# what to do if the user's own module registers a key or name that does not exist
EXTENSIONS_HINT = "for one of your own, NUCDET_EXTENSIONS must name its module"

# the exit code that a shell reports for a program ended by a closed pipe (128 + SIGPIPE)
_CLOSED_PIPE = 141


class InputError(ValueError):
    """A mistake in the user's input (a file, a config value, an argument), not a bug in nucdet.

    The message is one line that names the file, what was found, what was expected and what to do.
    Library callers catch it as ``ValueError``. Commands print that line and exit with code 2; they
    treat any other ``ValueError`` as a bug, with exit code 1 and the traceback in a log file.
    """

    def __init__(self, message: str = ""):
        # the message may quote a decoder's error, which can have several lines
        super().__init__(" ".join(message.split("\n")).strip())


def similar_names(known: Iterable[str], *wanted: str) -> list[str]:
    """Existing names that a user may have meant by one that does not exist, for error messages.

    Args:
        known: the names that exist.
        wanted: the name that was given, followed by shorter forms of it, best first.

    Returns:
        The names that contain the first of ``wanted`` which occurs in any name, ignoring case;
        otherwise the names with a similar spelling, if any.

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

    User errors (:class:`InputError`) and errors of the file system (:class:`OSError`: missing file,
    no permission, full disk) end with one line on stderr and code 2. Ctrl-C ends with code 130, and
    a closed output pipe (``| head``) with code 141. Too little memory for a process that loads data
    counts as a user error.
    Any other exception is a bug in nucdet: exit code 1 and one line that names a log file with the
    traceback, in the folder for temporary files. Processes that the tool forks end with it.
    """
    bind_forks()
    try:
        code = main() or 0
        print(end="", flush=True)  # flush here, where a BrokenPipeError is caught
    except InputError as error:
        code = _complain(_own_words(error))
    except BrokenPipeError:
        code = _CLOSED_PIPE
        # otherwise Python would report the error again when it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # str(OSError) may start with "[Errno 13]", which tells a user nothing
        named = f"{error.filename}: " if error.filename else ""
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "; free some, or write to another disk" if is_full else ""
        code = _complain(named + (error.strerror or _own_words(error)) + remedy)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except Exception as error:
        lost = _LOST_LOADER.search(str(error))
        code = _complain(f"{lost[0]}: {_MORE_ROOM}") if lost else _report_bug(error)
    sys.exit(code)


def _own_words(error: InputError | OSError) -> str:
    """The error's own message, without the traceback that torch's data loader may add to it."""
    text = str(error)
    if "Original Traceback" not in text:
        return text
    words = text[text.rindex(f"{type(error).__name__}: ") :].partition(": ")[2]
    return re.sub(r"^\[Errno \d+\] ", "", words)


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def _report_bug(error: Exception) -> int:
    # the message of an error from another process is a traceback, followed by the error itself
    lines = str(error).strip().splitlines() or [""]
    message = lines[-1] if "Traceback" in str(error) else lines[0]
    shown = f"{type(error).__name__}: {message}"[:_SHOWN]
    try:
        kept = f"the traceback is in {_keep_traceback(error)}; please send it with a report"
    except OSError as refused:  # for example a full disk: print the traceback instead
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
