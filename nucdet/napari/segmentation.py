"""Segmenting and measuring one plane, with progress."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.napari.planes import Plane
from nucdet.napari.progress import Progress
from nucdet.predict import Prediction, Segmenter
from nucdet.predict.measurements import Channels, measure
from nucdet.structures import CroppedMasks


def number_of(name: str, text: str, *words: str) -> float | str | None:
    """What the user wrote into a field for a number that may stay empty.

    Args:
        name: of the field, for the message.
        text: what stands in it.
        words: what may stand there instead of a number.

    Raises:
        InputError: something else.
    """
    text = text.strip().lower()
    if not text or text in words:
        return text or None
    try:
        return float(text)
    except ValueError:
        expected = " or ".join(["a number", *map(repr, words), "nothing"])
        raise InputError(f"{name} is {text!r}; expected {expected}") from None


def segment(
    segmenter: Segmenter, plane: Plane, diameter: float | str | None, progress: Progress
) -> Prediction:
    """Find the nuclei of a plane; large ones go through in tiles, each of which is reported.

    Raises:
        InputError: pixels that are no image, a diameter that is none.
        Cancelled: the user stopped it between two tiles.
    """
    progress(0, 0, "segmenting")
    source = ImageWindows(plane.pixels, plane.name, segmenter.cfg.INPUT.NORMALIZE)
    return segmenter.predict_windows(
        [source], diameter, lambda done, tiles: progress(done, tiles, "segmenting, tiles")
    )[0]


def measure_labels(
    labels: np.ndarray,
    image: np.ndarray,
    scores: Mapping[int, float] | None = None,
    pixel_size: float | None = None,
) -> pd.DataFrame:
    """Measure what a label map marks, as it is after corrections.

    Args:
        labels: (H, W) integers, 0 for background.
        image: (H, W) or (H, W, 3), for the intensities.
        scores: of labels that a network has found; those that were drawn by hand have none.
        pixel_size: µm, or None.

    Returns:
        As :func:`nucdet.predict.measurements.measure`, but ``id`` is the number in the label map,
        and the plane is not said: the labels are of one.

    Raises:
        InputError: the sizes differ.
    """
    check_sizes(labels, image)
    masks = CroppedMasks.from_label_map(labels)
    table = measure(masks, Channels.of_windows(ImageWindows(image)), pixel_size)
    table = table.drop(columns=["time", "z"])
    numbers = np.unique(labels)
    table["id"] = numbers[numbers > 0].astype(np.int64)
    if scores:
        table["score"] = table["id"].map(scores)
    return table


def check_sizes(labels: np.ndarray, image: np.ndarray) -> None:
    """Raise InputError unless a label map has the size of its image."""
    if labels.shape != image.shape[:2]:
        found, expected = ("x".join(map(str, a.shape[:2])) for a in (labels, image))
        raise InputError(
            f"the labels have {found} pixels (height x width), the image {expected}; choose the "
            "labels that belong to the image"
        )
