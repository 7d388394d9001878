"""The files of one predicted image, and those over all of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from detectron2.structures import Instances
from PIL import Image

from nucdet.export import (
    ImageRecord,
    ReportFacts,
    write_coco,
    write_geojson,
    write_kaggle,
    write_label_image,
    write_report,
    write_rois,
    write_summary,
    write_table,
)
from nucdet.predict.drawing import draw_overlay, draw_thumbnail
from nucdet.structures import CroppedMasks
from nucdet.visualization.files import save_png

# formats with a file for each image, and how it ends
PER_IMAGE = {
    "label": "_label.tif",
    "overlay": "_overlay.png",
    "csv": ".csv",
    "geojson": ".geojson",
    "roi": "_rois.zip",
}
# formats with one file for all images
OVER_ALL = {"coco": "predictions_coco.json", "kaggle": "kaggle.csv"}
FORMATS = ("label", "overlay", "csv", "coco", "kaggle", "geojson", "roi")


def output_paths(output: Path, name: str, formats: Sequence[str]) -> dict[str, Path]:
    """Where the files of one image go, by format."""
    return {f: output / f"{name}{PER_IMAGE[f]}" for f in PER_IMAGE if f in formats}


def write_image_outputs(
    paths: Mapping[str, Path],
    record: ImageRecord,
    masks: CroppedMasks,
    image: np.ndarray,
    table: pd.DataFrame,
    pixel_size: float | None = None,
) -> None:
    """Write the files of one image.

    Args:
        paths: by format, see :func:`output_paths`.
        record: of the image.
        masks: N disjoint masks of it.
        image: see :func:`nucdet.predict.drawing.read_for_drawing`.
        table: N rows of measurements, with a column ``id``.
        pixel_size: µm.

    Raises:
        OSError: a file cannot be written.
    """
    if "label" in paths:
        write_label_image(paths["label"], masks, pixel_size)
    if "overlay" in paths:
        save_png(paths["overlay"], draw_overlay(image, masks))
    if "csv" in paths:
        write_table(paths["csv"], table)
    if "geojson" in paths:
        classes = [record.class_names[label] for label in record.classes]
        write_geojson(paths["geojson"], masks, classes, table)
    if "roi" in paths:
        write_rois(paths["roi"], masks)


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
    if "coco" in formats:
        write_coco(output / OVER_ALL["coco"], records)
    if "kaggle" in formats:
        write_kaggle(output / OVER_ALL["kaggle"], records)
    write_summary(output / "summary.csv", records, facts.failures, facts.pixel_size)
    write_report(output / "report.html", records, facts)
