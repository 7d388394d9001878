#!/usr/bin/env python
"""Install Detectron2's Python code into the environment of this Python, unless it has one already.

    python install_detectron2.py

Detectron2 has no release on the Python package index. This build there is upstream's Python code of
spring 2024; nucdet does not need the compiled part, because of which its file name promises Python
3.10 only, so the name is changed after the download. It also asks for numpy 1 and for black, which
nothing of it needs: they are taken out of its metadata, or pip would complain at every later
installation.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_NAME, _VERSION = "sal-detectron2", "0.7.2"
_SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
_WHEEL = f"sal_detectron2-{_VERSION}-{{}}-none-any.whl"
# what nucdet's own dependencies do not bring
_NEEDED = [
    "cloudpickle",
    "fvcore",
    "hydra-core",
    "iopath",
    "omegaconf",
    "tabulate",
    "termcolor",
    "yacs",
]


def main() -> int:
    if importlib.util.find_spec("detectron2"):
        return 0
    try:
        _install()
    except subprocess.CalledProcessError as error:
        return error.returncode  # pip has said why
    return 0


def _install() -> None:
    _pip("install", *_NEEDED)  # first, since a second run does nothing once Detectron2 is there
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pin = folder / "detectron2.txt"
        pin.write_text(f"{_NAME}=={_VERSION} --hash=sha256:{_SHA256}\n", encoding="utf-8")
        platform = "--only-binary=:all: --python-version 3.10 --implementation cp --abi none"
        _pip("download", "--no-deps", *platform.split(), "--platform", "any", "--dest", name,
             "--require-hashes", "--requirement", str(pin))  # fmt: skip
        wheel = (folder / _WHEEL.format("cp310")).rename(folder / _WHEEL.format("py3"))
        _pip("install", "--no-deps", str(wheel))
    files = importlib.metadata.files(_NAME) or []
    metadata = next(Path(file.locate()) for file in files if file.name == "METADATA")
    text = metadata.read_bytes().decode()
    text = re.sub(r"^Requires-Dist: black\r?\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(Requires-Dist: numpy)<2", r"\1", text, flags=re.MULTILINE)
    metadata.write_bytes(text.encode())


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, arguments[0], "--quiet", *arguments[1:]], check=True)


if __name__ == "__main__":
    sys.exit(main())
