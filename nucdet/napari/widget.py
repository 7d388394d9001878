"""The dock widget: segment, correct, measure, save as training data, fine-tune."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
from magicgui.widgets import (
    ComboBox,
    Container,
    FileEdit,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    SpinBox,
    Widget,
    create_widget,
)
from napari.qt.threading import create_worker
from napari.utils.notifications import (
    Notification,
    notification_manager,
    show_error,
    show_info,
    show_warning,
)

from nucdet.errors import InputError
from nucdet.export.tables import write_table
from nucdet.napari.background import Background
from nucdet.napari.finetuning import finetune, recipe_iterations
from nucdet.napari.models import LoadedModel, Model, finetuned_models, shipped_models
from nucdet.napari.planes import (
    COLORS,
    Plane,
    all_planes,
    check_view,
    labels_placement,
    pixel_size_of,
    plane_axes,
    shown_plane,
)
from nucdet.napari.progress import Cancelled, Progress
from nucdet.napari.segmentation import (
    LinkedStack,
    measure_labels,
    number_of,
    segment,
    segment_stack,
)
from nucdet.napari.table import show_table
from nucdet.napari.training_folder import count_pairs, save_pair
from nucdet.predict import Prediction, Segmenter

_OWN = "my own config and weights"
# words for the axis along which nuclei are linked
_PLANES = [
    ("the shown one", None),
    ("all, joined in depth", "z"),
    ("all, followed in time", "time"),
]
# keys in the metadata of a labels layer: the Plane it belongs to, scores by label, and µm or None
_PLANE, _SCORES, _PIXEL_SIZE = "nucdet plane", "nucdet scores", "nucdet pixel size"


class NucleusWidget(Container):
    """The widget in Plugins > nucdet > Segment nuclei; docs/napari.md explains how to use it.

    Only one segmentation or fine-tuning runs at a time, on another thread.
    """

    def __init__(self, viewer: napari.viewer.Viewer):
        """
        Args:
            viewer: the viewer whose layers are segmented; napari passes it.
        """
        super().__init__()
        self._viewer = viewer
        self._loaded = LoadedModel()
        self._new_models: list[Model] = []
        self._worker: Background | None = None
        self._closed = False
        self.native.destroyed.connect(self._close)
        self._add_segmenting()
        self._add_measuring()
        self._add_finetuning()
        self._add_progress()
        self._show_own_model()
        self._show_folder()

    # --- what the user sees

    def _add_segmenting(self) -> None:
        self.image_layer = create_widget(annotation=napari.layers.Image, label="image")
        self.color = ComboBox(
            label="channel",
            choices=list(COLORS),
            tooltip="Of an image in color. Of other images the sliders choose the plane.",
        )
        self.planes = ComboBox(
            label="planes",
            choices=_PLANES,
            tooltip="All: with the sliders for time, depth or both. A nucleus has one number in "
            "all planes that show it.",
        )
        self.model = ComboBox(label="model", choices=self._model_choices)
        self.config = FileEdit(label="config", filter="*.yaml")
        self.weights = FileEdit(label="weights", filter="*.pth")
        self.diameter = LineEdit(
            label="diameter",
            tooltip="Of the nuclei in pixels; auto: estimated; empty: as the model was trained.",
        )
        self.threshold = LineEdit(
            label="threshold",
            tooltip="From 0, find more, to below 1, be sure; empty: the model's own rules.",
        )
        self.segment_button = PushButton(text="Segment")
        self.model.changed.connect(self._show_own_model)
        self.segment_button.clicked.connect(self._guarded(self.segment))
        self.extend([self.image_layer, self.color, self.planes])
        self.extend([self.model, self.config, self.weights])
        self.extend([self.diameter, self.threshold, self.segment_button])

    def _add_measuring(self) -> None:
        self.labels_layer = create_widget(annotation=napari.layers.Labels, label="labels")
        self.measure_button = PushButton(text="Measure")
        self.csv = FileEdit(label="csv", mode="w", filter="*.csv", value="nuclei.csv")
        self.csv_button = PushButton(text="Save measurements")
        self.measure_button.clicked.connect(self._guarded(self.measure))
        self.csv_button.clicked.connect(self._guarded(self.save_csv))
        self.extend([self.labels_layer, self.measure_button, self.csv, self.csv_button])

    def _add_finetuning(self) -> None:
        self.folder = FileEdit(label="training data", mode="d", value="nucdet_training")
        self.save_button = PushButton(text="Save labels as training data")
        self.iterations = SpinBox(label="iterations", min=1, max=100_000, value=recipe_iterations())
        self.finetune_button = PushButton(text="Fine-tune on this folder")
        self.folder.changed.connect(self._show_folder)
        self.save_button.clicked.connect(self._guarded(self.save_training_data))
        self.finetune_button.clicked.connect(self._guarded(self.finetune))
        self.extend([self.folder, self.save_button, self.iterations, self.finetune_button])

    def _add_progress(self) -> None:
        self.status = Label()
        self.bar = ProgressBar(visible=False)
        self.cancel_button = PushButton(text="Cancel", enabled=False)
        self.cancel_button.clicked.connect(self.cancel)
        self.extend([self.status, self.bar, self.cancel_button])

    def _model_choices(self, widget: Widget) -> list[tuple[str, Model | str]]:
        models = [*self._new_models, *shipped_models()]
        return [(model.name, model) for model in models] + [(_OWN, _OWN)]

    def _show_own_model(self) -> None:
        own = self.model.value == _OWN
        self.config.visible = self.weights.visible = own

    def _show_folder(self) -> None:
        """Show the number of images in the training folder, and offer its fine-tuned models."""
        self.status.value = f"{count_pairs(self.folder.value)} images in {self.folder.value.name}"
        self._new_models = finetuned_models(self.folder.value)
        chosen = self.model.value
        self.model.reset_choices()
        if chosen in self.model.choices:
            self.model.value = chosen

    # --- what the buttons do

    def segment(self) -> None:
        """Segment the plane that is shown, or all planes; the result becomes a labels layer.

        Raises:
            InputError: there is no image, the viewer shows none of its planes, a field is not
                valid, or another task is running.
        """
        layer = self._chosen(self.image_layer, "an image")
        plane, axis = self._shown(layer), self.planes.value
        model, color = self._model(), self.color.value
        diameter = number_of("diameter", self.diameter.value, "auto")
        threshold = number_of("threshold", self.threshold.value)

        def segmenter(progress: Progress) -> Segmenter:
            progress(0, 0, "loading the model")
            return self._loaded.segmenter(model, threshold)

        def work(progress: Progress) -> Prediction:
            return segment(segmenter(progress), plane, diameter, progress)

        def work_on_all(progress: Progress) -> LinkedStack:
            planes, lengths = all_planes(layer, color), plane_axes(layer)
            return segment_stack(segmenter(progress), planes, lengths, axis, diameter, progress)

        if axis is None:
            self._start(work, lambda prediction: self._show_labels(layer, plane, prediction))
        else:
            self._start(work_on_all, lambda stack: self._show_stack(layer, stack))

    def measure(self) -> None:
        """Measure the current labels, and show the table.

        Raises:
            InputError: there are no labels, or they do not fit the image.
        """
        layer = self._chosen(self.labels_layer, "labels")
        show_table(self._viewer, layer, self._measured(layer))

    def save_csv(self) -> None:
        """Measure the current labels, and write the table to the csv file.

        Raises:
            InputError: there are no labels, or they do not fit the image.
            OSError: the file cannot be written.
        """
        table = self._measured(self._chosen(self.labels_layer, "labels"))
        write_table(self.csv.value, table)
        show_info(f"{len(table)} nuclei in {self.csv.value}")

    def save_training_data(self) -> None:
        """Save the current labels with their image in the training folder.

        Raises:
            InputError: there are no labels, or they do not fit the image.
            OSError: the folder cannot be written to.
        """
        layer = self._chosen(self.labels_layer, "labels")
        plane = self._plane_of(layer)
        file = save_pair(self.folder.value, plane.name, plane.pixels, self._label_map(layer))
        self._show_folder()
        show_info(f"saved {file} and its label map")

    def finetune(self) -> None:
        """Fine-tune on the training folder in the background, and select the resulting model.

        Raises:
            InputError: no model is chosen, or another task is running.
        """
        folder, model = self.folder.value, self._model()
        iterations = self.iterations.value

        def work(progress: Progress) -> Model:
            return finetune(folder, model, iterations, progress)

        self._start(work, self._use_model)

    def cancel(self) -> None:
        """Stop the running task at its next report of progress."""
        if self._worker is not None:
            self.status.value = "stopping"
            self._worker.quit()

    # --- results and inputs

    def _show_labels(
        self, layer: napari.layers.Layer, plane: Plane, prediction: Prediction
    ) -> None:
        labels = prediction.label_map()
        self._add_labels(
            layer,
            labels.reshape((1,) * len(plane.step) + labels.shape),
            plane.name,
            {_PLANE: plane, _SCORES: dict(enumerate(prediction.scores.tolist(), 1))},
            plane.step,
        )
        if prediction.warning:
            show_warning(f"{plane.name}: {prediction.warning}")

    def _show_stack(self, layer: napari.layers.Layer, stack: LinkedStack) -> None:
        # without a plane of its own: measured and saved is the one that is shown
        self._add_labels(layer, stack.labels, layer.name, {_SCORES: stack.scores})
        if stack.warnings:
            planes = math.prod(plane_axes(layer))
            show_warning(
                f"{layer.name}, {len(stack.warnings)} of {planes} planes: {stack.warnings[0]}"
            )

    def _add_labels(
        self,
        layer: napari.layers.Layer,
        labels: np.ndarray,
        name: str,
        metadata: dict[str, Any],
        step: tuple[int, ...] = (),
    ) -> None:
        self.labels_layer.value = self._viewer.add_labels(
            labels,
            name=f"nuclei of {name}",
            metadata=metadata | {_PIXEL_SIZE: pixel_size_of(layer)},
            **labels_placement(layer, step),
        )
        self.status.value = f"{len(metadata[_SCORES])} nuclei"
        self.measure()

    def _use_model(self, model: Model) -> None:
        self._show_folder()
        if model not in self._new_models:  # another folder has been chosen meanwhile
            self._new_models.insert(0, model)
            self.model.reset_choices()
        self.model.value = model
        self.status.value = f"{model.name} is ready and chosen"

    def _measured(self, layer: napari.layers.Labels) -> pd.DataFrame:
        plane, metadata = self._plane_of(layer), layer.metadata
        return measure_labels(
            self._label_map(layer),
            plane.pixels,
            metadata.get(_SCORES),
            metadata.get(_PIXEL_SIZE, pixel_size_of(layer)),
        )

    def _plane_of(self, labels: napari.layers.Labels) -> Plane:
        """The plane of a labels layer: the one that was segmented, else the selected image's."""
        if _PLANE in labels.metadata:
            return labels.metadata[_PLANE]
        return self._shown(self._chosen(self.image_layer, "an image"))

    def _label_map(self, labels: napari.layers.Labels) -> np.ndarray:
        return self._shown(labels).pixels

    def _shown(self, layer: napari.layers.Layer) -> Plane:
        check_view(layer, self._viewer.dims)
        return shown_plane(layer, self._viewer.dims.point, self.color.value)

    def _model(self) -> Model:
        if self.model.value != _OWN:
            return self.model.value
        # an empty field gives the current folder
        config, weights = self.config.value, self.weights.value
        if config == Path():
            raise InputError("no config is chosen; choose the yaml of your own model")
        return Model(_OWN, config, None if weights == Path() else weights)

    def _chosen(self, widget: Any, what: str) -> napari.layers.Layer:
        if widget.value is None:
            raise InputError(f"no layer is chosen; open or add {what} first")
        return widget.value

    # --- work in the background

    def _start(self, work: Callable[[Progress], Any], done: Callable[[Any], None]) -> None:
        if self._worker is not None:
            raise InputError("something runs already; wait for it or cancel it")
        self._set_busy(True)
        slots = {
            "yielded": self._show_progress,
            "returned": self._guarded(done),
            "errored": self._complain,
            "finished": self._finished,
        }
        # with create_worker, napari asks before it closes while the worker runs, and stops it
        self._worker = create_worker(
            work,
            _worker_class=Background,
            _connect={signal: self._while_open(slot) for signal, slot in slots.items()},
        )

    def _while_open(self, slot: Callable[..., None]) -> Callable[..., None]:
        """Wrap a slot to ignore signals after the window is closed, when its widgets are gone."""
        return lambda *arguments: None if self._closed else slot(*arguments)

    def _close(self) -> None:
        self._closed = True

    def _show_progress(self, report: tuple[int, int, str]) -> None:
        done, total, text = report
        self.bar.max, self.bar.value = total, done  # with a maximum of 0 the bar only moves
        self.status.value = f"{text}: {done} of {total}" if total else text

    def _finished(self) -> None:
        if self._worker.abort_requested:
            self.status.value = "stopped"
        self._worker = None
        self._set_busy(False)

    def _set_busy(self, busy: bool) -> None:
        self.bar.visible = self.cancel_button.enabled = busy
        self.segment_button.enabled = self.finetune_button.enabled = not busy

    def _guarded(self, function: Callable[..., None]) -> Callable[..., None]:
        """Wrap a slot to show the message of a user error instead of a traceback."""

        def call(*arguments: Any) -> None:
            try:
                # a button passes its state, which no slot needs
                function(*(a for a in arguments if not isinstance(a, bool)))
            except (InputError, OSError) as error:
                self._complain(error)

        return call

    def _complain(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            return
        self.status.value = "failed"
        if isinstance(error, (InputError, OSError)):
            show_error(str(error))
        else:  # a bug, shown with its traceback
            notification_manager.dispatch(Notification.from_exception(error))
