"""The notebook for newcomers runs from its first cell to its last."""

from __future__ import annotations

import os
import sys

import pytest


def test_the_notebook_runs(repository, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    # the commands of this checkout, whether or not it is the one installed
    for command, script in {"convert": "convert_dataset", "train": "train_net"}.items():
        path = tmp_path / "bin" / f"nucdet-{command}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\n"{sys.executable}" "{repository}/tools/{script}.py" "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(repository / "docs/quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    place = tmp_path / "my folder"
    place.mkdir()
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(place)}}
    )
    client.execute()
    output = place / "output/quickstart"
    assert (output / "datasets/mydata/dataset.yaml").is_file()
    assert (output / "finetuned/model_final.pth").is_file()
    said = [
        entry.get("text", "")
        for cell in notebook.cells
        for entry in cell.get("outputs", ())
        if entry.output_type == "stream"
    ]
    assert "nuclei; an image of a kind that the model knows" in "".join(said)
    assert "Warning" not in "".join(said)
