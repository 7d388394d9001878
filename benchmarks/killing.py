"""Runs a tool in its own session, kills it at some point, and checks which processes survive."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nucdet.errors import InputError

# seconds after which to stop waiting for a process that should have ended
_PATIENCE = 30.0


@dataclass
class Runner:
    """Runs commands, logs their output, and records how long any of their processes survived.

    Attributes:
        log: file to which the output of the commands is appended.
        environment: environment variables in addition to those of this process.
        survived: seconds from each kill until no process of the killed command was left.
    """

    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    survived: list[float] = field(default_factory=list)

    def run(self, command: list[str]) -> float:
        """Run a command to the end, and return its CPU time in seconds.

        Raises:
            InputError: the command failed.
        """
        before = _cpu_of_children()
        code = self._start(command).wait()
        if code:
            raise InputError(f"{' '.join(command)}: exit code {code}; see {self.log}")
        return _cpu_of_children() - before

    def fail(self, command: list[str]) -> tuple[int, list[str]]:
        """Run a command that is expected to fail; returns its exit code and lines of output."""
        length = self.log.stat().st_size if self.log.is_file() else 0
        code = self._start(command).wait()
        return code, self.log.read_bytes()[length:].decode(errors="replace").splitlines()

    def kill_after(self, command: list[str], seconds: float) -> bool:
        """Like :meth:`kill_when`, after this many seconds of CPU time."""
        process = self._start(command)
        while process.poll() is None and _cpu_of(process.pid) < seconds:
            time.sleep(0.1)
        return self._kill(process)

    def kill_when(self, command: list[str], reached: Callable[[], bool], pause: float = 0) -> bool:
        """Run a command and kill its first process with SIGKILL.

        Args:
            command: the tool with its arguments.
            reached: called repeatedly; when it returns True, the process is to be killed.
            pause: seconds to wait before the kill.

        Returns:
            Whether the command was still running.

        Raises:
            InputError: the command failed by itself.
        """
        process = self._start(command)
        while process.poll() is None and not reached():
            time.sleep(0.002)
        time.sleep(pause)
        return self._kill(process)

    def _kill(self, process: subprocess.Popen) -> bool:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.survived.append(_seconds_until_gone(process.pid))
            return True
        if process.returncode:
            raise InputError(f"{' '.join(process.args)}: failed by itself; see {self.log}")
        return False

    def _start(self, command: list[str]) -> subprocess.Popen:
        with self.log.open("a") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            environment = os.environ | self.environment
            return subprocess.Popen(
                command, stdout=file, stderr=file, env=environment, start_new_session=True
            )


def _seconds_until_gone(session: int) -> float:
    start = time.monotonic()
    while any(_of_session(session)) and time.monotonic() - start < _PATIENCE:
        time.sleep(0.01)
    return time.monotonic() - start


def _of_session(session: int) -> Iterator[list[str]]:
    """The fields of /proc/<pid>/stat, from the state on, of each living process of a session."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[0] not in "ZX" and int(fields[3]) == session:
            yield fields


def _cpu_of(session: int) -> float:
    ticks = sum(int(fields[i]) for fields in _of_session(session) for i in (11, 12, 13, 14))
    return ticks / os.sysconf("SC_CLK_TCK")


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
