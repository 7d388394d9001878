"""A screen for the viewer: the one that there is, or one in memory (Xvfb)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

# asked in another process first, because Qt ends the one in which it finds no screen
_ASK = """
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QApplication
import napari
application = QApplication([])
if not QOpenGLContext().create():
    raise SystemExit("no OpenGL")
"""


@pytest.fixture(scope="session")
def screen() -> Iterator[None]:
    """A screen with OpenGL, or the test is skipped."""
    server = None
    with pytest.MonkeyPatch.context() as patch:
        if "DISPLAY" not in os.environ and sys.platform == "linux":
            if shutil.which("Xvfb") is None:
                pytest.skip("no screen (DISPLAY) and no Xvfb to make one (Debian: xvfb)")
            command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1600x1000x24"]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            patch.setenv("DISPLAY", f":{server.stdout.readline().decode().strip()}")
            patch.setenv("QT_QPA_PLATFORM", "xcb")
        answer = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _ASK],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            reason = (answer.stderr.strip().splitlines() or ["Qt ended the process"])[-1]
            pytest.skip(f"no napari or no screen with OpenGL for it: {reason}")
        yield
        if server is not None:
            server.terminate()
            server.wait()
