"""Write the files of each predicted image and those that cover all images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nucdet.export import (
    ImageRecord,
    ReportFacts,
    write_nuclei,
    write_report,
    write_summary,
)
from nucdet.export.report_image import encode_thumbnail, outline_paths, report_columns
from nucdet.predict.drawing import outline_colors, read_for_drawing
from nucdet.predict.earlier import begin
from nucdet.predict.formats import FORMATS, ImageOutputs, shared_paths
from nucdet.predict.inputs import InputFile
from nucdet.predict.job import Job
from nucdet.predict.options import PredictOptions
from nucdet.predict.prediction import Prediction
from nucdet.visualization.colors import PALETTE

if TYPE_CHECKING:
    import pandas as pd


def make_outputs(file: InputFile, prediction: Prediction, options: PredictOptions) -> ImageOutputs:
    """Measure the nuclei of an image, and read the image that they are drawn on.

    Args:
        file: the image.
        prediction: its nuclei.
        options: say which nuclei are kept and how they are measured.

    Raises:
        InputError, OSError: the file is damaged in a part that had not been read yet, or does not
            have a channel to be measured.
    """
    if options.exclude_border:
        prediction = prediction.without_border()
    image = read_for_drawing(prediction.source)
    pixel_size = options.pixel_size or prediction.source.pixel_size
    table = prediction.table(pixel_size, options.measure_channels)
    record = _record(file, prediction, image, table, pixel_size)
    return ImageOutputs(record, prediction.pred_masks, table, image)


def _record(
    file: InputFile,
    prediction: Prediction,
    image: np.ndarray,
    table: pd.DataFrame,
    pixel_size: float | None,
) -> ImageRecord:
    masks = prediction.pred_masks
    thumbnail, thumbnail_size = encode_thumbnail(image)
    return ImageRecord(
        name=file.name,
        file_name=file.file_name,
        height=masks.image_size[0],
        width=masks.image_size[1],
        counts=[rle["counts"] for rle in masks.to_coco_rle()],
        areas=masks.areas.tolist(),
        scores=[round(score, 6) for score in prediction.scores.tolist()],
        classes=prediction.pred_classes.tolist(),
        class_names=list(prediction.class_names),
        thumbnail=thumbnail,
        thumbnail_size=thumbnail_size,
        outlines=outline_paths(masks, thumbnail_size),
        colors=outline_colors(image, masks),
        columns=report_columns(table),
        familiarity=prediction.familiarity,
        warning=prediction.warning,
        time=prediction.place.time,
        z=prediction.place.z,
        pixel_size=pixel_size,
    )


def write_outputs(file: InputFile, outputs: ImageOutputs, job: Job) -> None:
    """Write the files of one image, and finally its record, which contains their sizes.

    Raises:
        OSError: a file cannot be written.
    """
    store = job.store
    paths = job.paths(file)
    begin(store, file, paths.values(), is_stack=False)
    for name, path in paths.items():
        FORMATS[name].write(path, outputs)
    store.save(file, outputs.record, paths.values())


def write_shared_outputs(job: Job) -> None:
    """Write ``summary.csv``, ``report.html`` and the formats with one file for all images.

    If the images have csv files, ``nuclei.csv`` gets the rows of all of them.

    Raises:
        OSError: a file cannot be written.
    """
    options, store = job.options, job.store
    # records are read from disk whenever they are needed: a run may have more than fit in memory
    records = store.records(job.files)
    outcomes = {file: store.outcome(file) for file in job.files}
    done = {file: outcome for file, outcome in outcomes.items() if outcome.is_predicted}
    failures = {file.file_name: o.error for file, o in outcomes.items() if o.error}
    job.begin_shared()
    for name, path in shared_paths(job.output, options.save).items():
        FORMATS[name].write(path, records)
    if "csv" in options.save:
        # the csv of a stack is named like that of an image
        tables = {file.file_name: job.paths(file)["csv"] for file in done}
        write_nuclei(job.output / "nuclei.csv", tables, job.metadata)
    write_summary(job.output / "summary.csv", records, failures, job.metadata)
    palette = ["#{:02x}{:02x}{:02x}".format(*color) for color in PALETTE.tolist()]
    sizes = [outcome.pixel_size for outcome in done.values()]
    settings = dict(job.facts) | {"Pixel size": _pixel_size_fact(options.pixel_size, sizes)}
    is_metric = bool(sizes) and None not in sizes
    facts = ReportFacts(is_metric, settings, failures, palette, job.metadata)
    write_report(job.output / "report.html", records, facts)


def _pixel_size_fact(chosen: float | None, sizes: Sequence[float | None]) -> str:
    """The pixel sizes of the files in words, for the report."""
    if chosen is not None:
        return f"{chosen:g} µm"
    known = [size for size in sizes if size is not None]
    if not known:
        return "not given"
    low, high = f"{min(known):g} µm", f"{max(known):g} µm"
    found = f"{low}, of the files" if low == high else f"{low} to {high}, each file its own"
    if len(known) == len(sizes):
        return found
    return f"{found}; unknown for {len(sizes) - len(known)} of {len(sizes)}: areas in pixels"
