"""Run a tool in a session of its own, kill it when something is reached, and see what lives on."""

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

# nobody waits longer for a process that should have ended
_PATIENCE = 30.0


@dataclass
class Runner:
    """Runs commands, and keeps what they print and how long anything outlived them.

    Attributes:
        log: gets what the commands print.
        environment: added to that of this process.
        survived: seconds from each kill until no process of the killed command was left.
    """

    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    survived: list[float] = field(default_factory=list)

    def run(self, command: list[str]) -> float:
        """Run to the end; the seconds of CPU time that it took.

        Raises:
            InputError: it failed.
        """
        before = _cpu_of_children()
        code = self._start(command).wait()
        if code:
            raise InputError(f"{' '.join(command)}: exit code {code}; see {self.log}")
        return _cpu_of_children() - before

    def fail(self, command: list[str]) -> tuple[int, list[str]]:
        """Run a command that is expected to fail; its exit code and what it printed, in lines."""
        length = self.log.stat().st_size if self.log.is_file() else 0
        code = self._start(command).wait()
        return code, self.log.read_bytes()[length:].decode(errors="replace").splitlines()

    def kill_after(self, command: list[str], seconds: float) -> bool:
        """:meth:`kill_when` it has used so many seconds of CPU time."""
        process = self._start(command)
        while process.poll() is None and _cpu_of(process.pid) < seconds:
            time.sleep(0.1)
        return self._kill(process)

    def kill_when(self, command: list[str], reached: Callable[[], bool], pause: float = 0) -> bool:
        """Run a command and kill its first process with SIGKILL; whether it was still running.

        Args:
            command: the tool with its arguments.
            reached: asked again and again whether to kill it.
            pause: seconds from then to the kill.

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
    """What /proc/<pid>/stat says of each living process of a session, from its state on."""
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
