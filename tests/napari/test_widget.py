"""The whole loop in napari's real viewer: segment, correct, save, fine-tune, segment again."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import tifffile

from nucdet.data.conversion.synthetic_images import LOOKS, draw_image
from nucdet.napari.models import finetuned_model

# npe2 is written for an older pydantic
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


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


def _wait(widget, seconds: float = 600) -> None:
    """Let Qt work until nothing runs in the background; long, since cores may be shared."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while widget._worker is not None:
        assert time.monotonic() < end, widget.status.value
        QApplication.processEvents()
        time.sleep(0.01)


def test_segment_correct_save_finetune_segment(viewer, widget, tmp_path):
    image, _ = draw_image(np.random.default_rng(1), 128, next(iter(LOOKS)), nuclei=8)
    viewer.add_image(image, name="drawn", rgb=True)

    widget.segment_button.clicked.emit(True)
    _wait(widget)
    (labels,) = [layer for layer in viewer.layers if layer.name == "nuclei of drawn"]
    found = np.unique(labels.data)[1:].tolist()
    assert 4 <= len(found) <= 12
    table = viewer.window.dock_widgets["Nuclei"]
    assert table.to_dataframe()["id"].tolist() == found
    assert labels.features["index"].tolist() == found

    # one nucleus is erased, one is drawn
    labels.data[labels.data == found[0]] = 0
    labels.data[:6, :6] = 99
    labels.refresh()
    corrected = labels.data.copy()
    widget.csv.value = tmp_path / "nuclei.csv"
    widget.csv_button.clicked.emit(True)
    measured = pd.read_csv(tmp_path / "nuclei.csv")
    assert measured["id"].tolist() == [*found[1:], 99]
    assert measured["score"].notna().tolist() == [True] * (len(found) - 1) + [False]

    widget.folder.value = tmp_path / "mine"
    widget.save_button.clicked.emit(True)
    assert np.array_equal(tifffile.imread(tmp_path / "mine/images/drawn.tif"), image)
    assert np.array_equal(tifffile.imread(tmp_path / "mine/labels/drawn.tif"), corrected)

    before = widget.model.value
    widget.folder.value = "mine"  # relative, as the field's default is
    widget.iterations.value = 5
    widget.finetune_button.clicked.emit(True)
    widget.folder.value = tmp_path / "other"  # while it runs
    _wait(widget)
    tuned = finetuned_model((tmp_path / "mine/finetuned/1").resolve())
    assert widget.model.value == tuned != before
    widget.folder.value = "mine"
    assert widget.model.value == tuned
    assert widget.model.choices.count(tuned) == len(widget.model.choices) - 2 == 1

    viewer.layers.remove(labels)
    widget.segment_button.clicked.emit(True)
    _wait(widget)
    (labels,) = [layer for layer in viewer.layers if layer.name == "nuclei of drawn"]
    # it has hardly learned anything in five iterations, and forgotten nothing
    assert abs(len(np.unique(labels.data)) - 1 - len(found)) <= 3


def _messages() -> list[str]:
    from napari.utils.notifications import notification_manager

    return [record.message for record in notification_manager.records]


def test_mistakes_are_shown_and_a_stack_gets_labels_on_the_plane_that_is_shown(
    viewer, widget, repository
):
    widget.segment_button.clicked.emit(True)
    assert "open or add an image first" in _messages()[-1]
    stack = np.zeros((3, 96, 96), np.uint8)
    stack[2, 10:30, 40:60] = 200
    viewer.add_image(stack, name="stack", scale=(5, 0.5, 0.5), units=("um", "um", "um"))
    viewer.dims.set_current_step(0, 2)
    widget.diameter.value = "large"
    widget.segment_button.clicked.emit(True)
    assert "diameter is 'large'" in _messages()[-1]
    assert widget.segment_button.enabled

    # no config of one's own, one that does not exist, then one that does
    widget.diameter.value = ""
    widget.model.value = "my own config and weights"
    widget.segment_button.clicked.emit(True)
    assert "no config is chosen" in _messages()[-1]
    widget.config.value = "nothing.yaml"
    widget.segment_button.clicked.emit(True)
    _wait(widget)
    assert "nothing.yaml: no such config file" in _messages()[-1]
    widget.config.value = repository / "configs/DSB2018/classical_watershed.yaml"
    widget.segment_button.clicked.emit(True)
    _wait(widget)
    labels = viewer.layers["nuclei of stack_2"]
    assert labels.data.shape == (1, 96, 96)
    assert labels.data_to_world((0, 0, 0)) == pytest.approx((10, 0, 0))
    table = viewer.window.dock_widgets["Nuclei"]
    (area,) = [c for c in table.column_headers if c.startswith("area")]
    assert table[area] == pytest.approx([400 * 0.25], rel=0.2)

    # a row of the table shows its nucleus
    table.native.selectRow(0)
    assert labels.selected_label == table["id"][0]
    assert viewer.camera.center[-2:] == pytest.approx((10, 25), abs=0.5)


def test_all_planes_get_one_layer_of_labels(viewer, widget, repository, tmp_path):
    stack = np.zeros((3, 96, 96), np.uint8)
    stack[:2, 10:30, 40:60] = 200
    stack[1, 60:80, 40:60] = 200
    viewer.add_image(stack, name="stack", scale=(5, 0.5, 0.5), units=("um", "um", "um"))
    viewer.dims.set_current_step(0, 1)
    widget.model.value = "my own config and weights"
    widget.config.value = repository / "configs/DSB2018/classical_watershed.yaml"
    widget.planes.value = "z"
    widget.segment_button.clicked.emit(True)
    _wait(widget)
    labels = viewer.layers["nuclei of stack"]
    assert labels.data.shape == stack.shape
    assert [np.unique(plane).tolist() for plane in labels.data] == [[0, 1], [0, 1, 2], [0]]
    assert labels.data_to_world((1, 0, 0)) == pytest.approx((5, 0, 0))
    assert widget.status.value == "2 nuclei"
    # the table and the training data are those of the plane that is shown
    assert viewer.window.dock_widgets["Nuclei"].to_dataframe()["id"].tolist() == [1, 2]
    viewer.dims.set_current_step(0, 0)
    widget.measure_button.clicked.emit(True)
    assert viewer.window.dock_widgets["Nuclei"].to_dataframe()["id"].tolist() == [1]
    widget.folder.value = tmp_path / "mine"
    widget.save_button.clicked.emit(True)
    assert np.array_equal(tifffile.imread(tmp_path / "mine/images/stack_0.tif"), stack[0])
    assert np.array_equal(tifffile.imread(tmp_path / "mine/labels/stack_0.tif"), labels.data[0])


def test_closing_the_window_stops_what_runs(viewer, widget, tmp_path):
    from qtpy.QtWidgets import QApplication

    image, masks = draw_image(np.random.default_rng(1), 64, next(iter(LOOKS)), nuclei=4)
    viewer.add_image(image, name="drawn", rgb=True)
    viewer.add_labels(masks.to_label_map(), name="by hand")
    widget.folder.value = tmp_path / "mine"
    widget.save_button.clicked.emit(True)
    widget.finetune_button.clicked.emit(True)
    worker = widget._worker
    while not list((tmp_path / "mine/finetuned").glob("*/train.log")):
        QApplication.processEvents()
    viewer.close()
    while worker.is_running:
        QApplication.processEvents()
    assert not (tmp_path / "mine/finetuned").exists()
