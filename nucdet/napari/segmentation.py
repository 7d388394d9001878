"""Segments one plane or all of a layer, and measures one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from nucdet.data.io.choice import Place
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.napari.planes import Plane
from nucdet.napari.progress import Progress
from nucdet.predict import Prediction, Segmenter
from nucdet.predict.linking import PlaneLinks
from nucdet.predict.measurements import Channels, measure
from nucdet.structures import CroppedMasks


def number_of(name: str, text: str, *words: str) -> float | str | None:
    """Parse the content of an input field for a number, which may be empty.

    Args:
        name: the name of the field, for the error message.
        text: its content; case and surrounding spaces are ignored.
        words: lower-case words that are accepted instead of a number.

    Returns:
        The number, one of ``words``, or None for an empty field.

    Raises:
        InputError: the field contains anything else.
    """
    text = text.strip().lower()
    if not text or text in words:
        return text or None
    try:
        return float(text)
    except ValueError:
        expected = " or ".join(["a number", *map(repr, words), "an empty field"])
        raise InputError(f"{name} is {text!r}; expected {expected}") from None


def segment(
    segmenter: Segmenter, plane: Plane, diameter: float | str | None, progress: Progress
) -> Prediction:
    """Find the nuclei of a plane; a large one is processed in tiles.

    Args:
        segmenter: the loaded model.
        plane: the image.
        diameter: diameter of the nuclei in pixels, "auto" or None, see
            :meth:`nucdet.predict.Segmenter.predict`.
        progress: called at the start and after each tile; it may raise :class:`Cancelled`.

    Raises:
        InputError: the pixels are not an image, or the diameter is not valid.
        Cancelled: the user stopped the computation.
    """
    progress(0, 0, "segmenting")
    return _predict(
        segmenter, plane, diameter, lambda done, tiles: progress(done, tiles, "segmenting, tiles")
    )


def _predict(
    segmenter: Segmenter,
    plane: Plane,
    diameter: float | str | None,
    show_tiles: Callable[[int, int], None] | None = None,
) -> Prediction:
    source = ImageWindows(plane.pixels, plane.name, segmenter.cfg.INPUT.NORMALIZE)
    return segmenter.predict_windows([source], diameter, show_tiles)[0]


class LinkedStack(NamedTuple):
    """The nuclei of all planes of a layer.

    Attributes:
        labels: (…, H, W) int32: 0 is background; a nucleus has one number in all of its planes.
        scores: the highest score of each nucleus, by number.
        warnings: the warning of each plane that has one.
    """

    labels: np.ndarray
    scores: dict[int, float]
    warnings: list[str]


def segment_stack(
    segmenter: Segmenter,
    planes: Iterable[Plane],
    lengths: tuple[int, ...],
    axis: str,
    diameter: float | str | None,
    progress: Progress,
) -> LinkedStack:
    """Find the nuclei of each plane, and link them from plane to plane.

    Args:
        segmenter: the loaded model.
        planes: all planes of a layer, in order; iterated over once.
        lengths: of the axes before y and x. If two are longer than 1, these are time and depth; if
            one is, it is the one along which nuclei are linked.
        axis: "z" or "time", see :class:`nucdet.predict.linking.PlaneLinks`.
        diameter: see :func:`segment`.
        progress: called before each plane; it may raise :class:`Cancelled`.

    Raises:
        InputError: more than two axes are longer than 1; or see :func:`segment`.
        Cancelled: the user stopped the computation.
    """
    several = [i for i, length in enumerate(lengths) if length > 1]
    if len(several) > 2:
        raise InputError(
            f"the image has {len(several)} sliders; expected at most two (time and depth) for all "
            "planes; segment the one that is shown instead"
        )
    names = ("time", "z") if len(several) == 2 else (axis,)
    links, labels, scores, warnings = PlaneLinks(axis), [], {}, []
    for done, plane in enumerate(planes):
        progress(done, math.prod(lengths), "segmenting, planes")
        prediction = _predict(segmenter, plane, diameter)
        place = Place(**dict(zip(names, (plane.step[i] for i in several), strict=False)))
        numbers = links.number(prediction.pred_masks, place)
        labels.append(prediction.pred_masks.to_label_map(numbers.astype(np.int32)))
        for number, score in zip(numbers.tolist(), prediction.scores.tolist(), strict=True):
            scores[number] = max(score, scores.get(number, 0.0))
        if prediction.warning:
            warnings.append(prediction.warning)
    return LinkedStack(np.reshape(labels, (*lengths, *labels[0].shape)), scores, warnings)


def measure_labels(
    labels: np.ndarray,
    image: np.ndarray,
    scores: Mapping[int, float] | None = None,
    pixel_size: float | None = None,
) -> pd.DataFrame:
    """Measure the nuclei of a label map, which may have been corrected by hand.

    Args:
        labels: (H, W) integers, 0 for background.
        image: (H, W) or (H, W, 3), for the intensities.
        scores: by label, for the nuclei found by a model; labels drawn by hand have none.
        pixel_size: µm; None: lengths and areas are in pixels.

    Returns:
        One row per label, in ascending order, as from
        :func:`nucdet.predict.measurements.measure`, except that ``id`` is the label, the columns
        ``time`` and ``z`` are left out, and there is a column ``score`` only if scores are given,
        with NaN for labels without a score.

    Raises:
        InputError: labels and image differ in size, or the image is not valid.
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
    """Raise InputError unless labels (H, W) have the size of their image (H, W) or (H, W, C)."""
    if labels.shape != image.shape[:2]:
        found, expected = ("x".join(map(str, a.shape[:2])) for a in (labels, image))
        raise InputError(
            f"the labels have {found} pixels (height x width), the image {expected}; choose the "
            "labels that belong to the image"
        )
