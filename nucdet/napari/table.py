"""The table of measurements below the image; selecting a row shows its nucleus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from magicgui.widgets import Table

NAME = "Nuclei"


def show_table(viewer: Any, layer: Any, table: pd.DataFrame) -> Table:
    """Show measurements in a dock widget, and in the status bar for the nucleus under the mouse.

    An existing table is replaced.

    Args:
        viewer: the napari viewer.
        layer: the labels layer that was measured.
        table: the measurements; the column ``id`` contains the label of each nucleus.

    Returns:
        The new widget.
    """
    layer.features = table.rename(columns={"id": "index"})
    if NAME in viewer.window.dock_widgets:
        viewer.window.remove_dock_widget(viewer.window.dock_widgets[NAME].native)
    widget = Table(value=table.to_dict("list"))  # all values of a DataFrame would become floats
    widget.read_only = True
    widget.native.setSortingEnabled(True)
    widget.native.itemSelectionChanged.connect(lambda: _show_nucleus(viewer, layer, widget))
    viewer.window.add_dock_widget(widget, name=NAME, area="bottom")
    return widget


def _show_nucleus(viewer: Any, layer: Any, widget: Table) -> None:
    """Center the view on the nucleus of the selected row, and select its label."""
    rows = {index.row() for index in widget.native.selectedIndexes()}
    if len(rows) != 1 or layer not in viewer.layers:
        return
    label = int(widget.data[rows.pop()][widget.column_headers.index("id")])
    layer.selected_label = label
    indices = np.nonzero(np.asarray(layer.data) == label)
    if len(indices[0]):  # the label may have been erased since
        center = layer.data_to_world([axis.mean() for axis in indices])
        viewer.camera.center = (0, *center[-2:])
