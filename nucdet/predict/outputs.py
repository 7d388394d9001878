"""The files of one predicted image, and those over all of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from nucdet.export import ImageRecord, ReportFacts, write_report, write_summary
from nucdet.predict.drawing import draw_thumbnail
from nucdet.predict.formats import FORMATS, ImageOutputs, shared_paths


def write_image_outputs(paths: Mapping[str, Path], outputs: ImageOutputs) -> None:
    """Write the files of one image.

    Args:
        paths: by format, see :func:`nucdet.predict.formats.output_paths`.
        outputs: what they are made of.

    Raises:
        OSError: a file cannot be written.
    """
    for name, path in paths.items():
        FORMATS[name].write(path, outputs)


def make_record(
    name: str,
    file_name: str,
    prediction: Instances,
    image: np.ndarray,
    class_names: Sequence[str],
) -> ImageRecord:
    """What the files over all images need of one.

    Args:
        name, file_name: see :class:`ImageRecord`.
        prediction: with ``pred_masks`` (CroppedMasks), ``scores``, ``pred_classes``.
        image: see :func:`nucdet.predict.drawing.read_for_drawing`.
        class_names: what the classes mean.
    """
    masks = prediction.pred_masks
    thumbnail = draw_thumbnail(image, masks)
    file = io.BytesIO()
    Image.fromarray(thumbnail).save(file, "JPEG", quality=85)
    return ImageRecord(
        name=name,
        file_name=file_name,
        height=masks.image_size[0],
        width=masks.image_size[1],
        counts=[rle["counts"] for rle in masks.to_coco_rle()],
        areas=masks.areas.tolist(),
        scores=[round(score, 6) for score in prediction.scores.tolist()],
        classes=prediction.pred_classes.tolist(),
        class_names=list(class_names),
        thumbnail="data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(),
        thumbnail_size=(thumbnail.shape[1], thumbnail.shape[0]),
    )


def write_shared_outputs(
    output: Path,
    formats: Sequence[str],
    records: Sequence[ImageRecord],
    facts: ReportFacts,
) -> None:
    """Write ``summary.csv``, ``report.html`` and what ``formats`` asks for over all images.

    Raises:
        OSError: a file cannot be written.
    """
    for name, path in shared_paths(output, formats).items():
        FORMATS[name].write(path, records)
    write_summary(output / "summary.csv", records, facts.failures, facts.pixel_size)
    write_report(output / "report.html", records, facts)
