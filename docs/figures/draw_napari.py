#!/usr/bin/env python3
"""Draw docs/figures/napari.jpg: the plug-in in napari's window, on an image of DSB2018 (CC0).

Needs a screen; without one: xvfb-run -s "-screen 0 1600x1000x24" docs/figures/draw_napari.py IMAGE
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from nucdet.data.io.reading import decode_image
from nucdet.napari.widget import NucleusWidget

TARGET = Path(__file__).parent / "napari.jpg"
SIZE = (1400, 900)
QUALITY = 82


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help="images/<id>.png of DSB2018's stage1_train")
    parser.add_argument("--training-folder", type=Path, default=Path("training_data"))
    args = parser.parse_args()
    image = decode_image(args.image)
    grey = image.ndim == 3 and (image == image[..., :1]).all()
    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    layer = viewer.add_image(image[..., 0] if grey else image, name="image")
    if grey:
        layer.contrast_limits = np.percentile(layer.data, (1, 99.8))
    widget = NucleusWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment nuclei (nucdet)")
    widget.folder.value = args.training_folder
    widget.segment()
    while not widget.segment_button.enabled:
        QApplication.processEvents()
        time.sleep(0.01)
    viewer.layers[-1].contour = 2
    viewer.reset_view()
    end = time.monotonic() + 3  # until everything is laid out and painted
    while time.monotonic() < end:
        QApplication.processEvents()
    shot = viewer.screenshot(canvas_only=False, flash=False)
    cv2.imwrite(str(TARGET), shot[..., 2::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    print(f"{TARGET}: {TARGET.stat().st_size / 1024:.0f} KiB, {widget.status.value}")


if __name__ == "__main__":
    main()
