"""Locks on folders of trainings, so that no two commands write into the same one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import portalocker
from portalocker import AlreadyLocked, LockException, LockFlags

from nucdet.errors import InputError

# a series holds the first for each of its trainings, which hold the second themselves
SERIES, TRAINING = ".lock", ".training.lock"


@contextmanager
def lock_folder(
    folder: Path, wait: bool = False, name: str = SERIES, option: str = "--output-dir"
) -> Iterator[int]:
    """Hold a folder's lock; a training that outlives this process continues to hold it.

    Args:
        folder: is created if missing.
        wait: until another process has released the lock.
        name: of the file in it that is locked.
        option: that names another folder, for the error.

    Yields:
        The file descriptor of the lock.

    Raises:
        InputError: another process holds the lock, and ``wait`` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        try:
            flags = LockFlags.EXCLUSIVE if wait else LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING
            portalocker.lock(file, flags)
        except AlreadyLocked as error:
            raise InputError(
                f"{folder}: another command trains in this folder, or a training that it left "
                f"behind; wait until it ends or choose another {option}"
            ) from error
        except LockException:  # a file system without locks, such as some network drives
            pass
        yield file.fileno()
