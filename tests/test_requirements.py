"""What `make .venv` installs is pinned, has hashes, and its licences are listed."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_LOCK = (_ROOT / "requirements.lock").read_text(encoding="utf-8")


def _pins() -> dict[str, str]:
    """The whole entry of each package (its pin and its hashes) by its pin, ``name==version``."""
    entries = re.split(r"^(?=[A-Za-z0-9])", _LOCK, flags=re.MULTILINE)[1:]
    return {entry.split(" ", 1)[0]: entry for entry in entries}


def test_every_package_is_pinned_with_hashes_that_pip_is_told_to_check():
    assert len(_pins()) > 90
    hashes = r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    for pin, entry in _pins().items():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+" + hashes, entry), pin
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--require-hashes --requirement requirements.lock" in makefile


def test_the_licence_of_every_pinned_package_is_listed():
    text = (_ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([\w.-]+) \| (\d[\w.]*) \| \S.*\|$", text, re.MULTILINE)
    assert [f"{name}=={version}" for name, version in listed] == list(_pins())
