"""What `make .venv` installs is pinned, has hashes, and its licences are listed."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

_ROOT = Path(__file__).parents[1]
_LOCK = (_ROOT / "requirements.lock").read_text(encoding="utf-8")


def _pins() -> dict[str, str]:
    """The whole entry of each package (its pin and its hashes) by its pin, ``name==version``."""
    entries = re.split(r"^(?=[A-Za-z0-9])", _LOCK, flags=re.MULTILINE)[1:]
    return {entry.split(" ", 1)[0]: entry for entry in entries}


def test_every_package_is_pinned_with_hashes_that_pip_is_told_to_check():
    assert len(_pins()) > 90
    marker = r"(?: ; sys_platform == '(?:linux|darwin)')?"
    hashes = r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    for pin, entry in _pins().items():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+" + marker + hashes, entry), pin
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--require-hashes --requirement requirements.lock" in makefile


def test_the_licence_of_every_pinned_package_is_listed():
    text = (_ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([\w.-]+) \| (\d[\w.]*) \| \S.*\|$", text, re.MULTILINE)
    assert [f"{name}=={version}" for name, version in listed] == list(_pins())


# In place of an environment's python: whether opencv-python is installed is the exit code of -c,
# and of the folder that pip is to install, the last argument, pyproject.toml is kept.
_PYTHON = """#!/bin/sh
test "$1" = -c && exit {code}
for last; do :; done
cp "$last/pyproject.toml" "{kept}"
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("installed", [False, True])
def test_pip_is_told_that_opencv_is_there_so_that_an_extra_does_not_replace_it(installed, tmp_path):
    kept = tmp_path / "kept.toml"
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(_PYTHON.format(code=0 if installed else 1, kept=kept), encoding="utf-8")
    python.chmod(0o755)
    command = ["make", "--no-print-directory", "opencv", f"VENV={tmp_path / 'venv'}"]
    subprocess.run(command, cwd=_ROOT, check=True)
    assert kept.exists() is not installed
    if not installed:
        project = tomllib.loads(kept.read_text(encoding="utf-8"))["project"]
        assert f"{project['name']}-headless=={project['version']}" in _pins()
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(MAKE) --no-print-directory opencv\n" in makefile
    assert "$(BIN)/python install_detectron2.py\n" in makefile


def _installer():
    spec = importlib.util.spec_from_file_location("installer", _ROOT / "install_detectron2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_detectron2_is_checked_renamed_and_asks_for_no_old_numpy(tmp_path, monkeypatch):
    installer, calls = _installer(), []
    metadata = tmp_path / "METADATA"
    metadata.write_bytes(b"Requires-Dist: black\nRequires-Dist: numpy<2\nRequires-Dist: yacs\n")

    def pip(command, *arguments):
        calls.append([command, *arguments])
        if command == "download":
            pin = Path(arguments[arguments.index("--requirement") + 1])
            assert re.fullmatch(r"sal-detectron2==[\d.]+ --hash=sha256:\w{64}\n", pin.read_text())
            folder = Path(arguments[arguments.index("--dest") + 1])
            (folder / "sal_detectron2-0.7.2-cp310-none-any.whl").touch()
        elif "--no-deps" in arguments:
            assert Path(arguments[-1]).is_file()

    monkeypatch.setattr(installer, "_pip", pip)
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    file = SimpleNamespace(name="METADATA", locate=lambda: metadata)
    monkeypatch.setattr(installer.importlib.metadata, "files", lambda name: [file])
    assert installer.main() == 0
    assert [call[0] for call in calls] == ["install", "download", "install"]
    assert "--require-hashes" in calls[1] and calls[2][-1].endswith("-py3-none-any.whl")
    assert metadata.read_bytes() == b"Requires-Dist: numpy\nRequires-Dist: yacs\n"


def test_a_detectron2_that_is_there_is_kept(monkeypatch):
    installer = _installer()
    monkeypatch.setattr(installer, "_pip", lambda *arguments: pytest.fail("pip was called"))
    assert installer.main() == 0
