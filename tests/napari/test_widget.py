"""The whole loop in napari's real viewer: segment, correct, save, fine-tune, segment again."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from nucdet.data.conversion.synthetic_images import LOOKS, draw_image


@pytest.fixture
def viewer(screen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "settings.yaml"))
    import napari

    viewer = napari.Viewer(show=False)
    yield viewer
    viewer.close()


@pytest.fixture
def widget(viewer, repository):
    """The plug-in as the menu opens it: by its manifest."""
    from npe2 import PluginManager, PluginManifest

    manifest = PluginManifest.from_file(repository / "nucdet/napari/napari.yaml")
    manager = PluginManager.instance()
    if manifest.name not in manager:
        manager.register(manifest)
    return viewer.window.add_plugin_dock_widget("nucdet", "Segment nuclei")[1]


def _wait(widget, seconds: float = 120) -> None:
    """Let Qt work until nothing runs in the background."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while widget._worker is not None:
        assert time.monotonic() < end, widget.status.value
        QApplication.processEvents()
        time.sleep(0.01)


def test_segment_correct_save_finetune_segment(viewer, widget, tmp_path):
    image, truth = draw_image(np.random.default_rng(1), 128, next(iter(LOOKS)), nuclei=8)
    viewer.add_image(image, name="drawn", rgb=True)
    widget.segment_button.clicked.emit(True)
    _wait(widget)
    (labels,) = [layer for layer in viewer.layers if layer.name == "nuclei of drawn"]
    found = np.unique(labels.data)[1:]
    assert 4 <= len(found) <= 12, widget.status.value
    table = viewer.window.dock_widgets["Nuclei"]
    assert table.shape[0] == len(found)
