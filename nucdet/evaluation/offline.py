"""The Kaggle score of predictions in files; run by nucdet-evaluate."""

from __future__ import annotations

import os

from rich.console import Console

from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.predictions_io import read_predictions
from nucdet.evaluation.report import as_json, result_tables, write_per_image
from nucdet.evaluation.scoring import ImageResult, score_image
from nucdet.files import write_json
from nucdet.postprocessing.overlap import eliminate_overlaps
from nucdet.progress import ProgressBar

_Path = str | os.PathLike[str]


def score_files(
    ground_truth: _Path, predictions: _Path, priority: str = "area"
) -> list[ImageResult]:
    """Score predictions in files against a COCO JSON, after overlap elimination.

    Every image of the ground truth counts; one without predictions is scored as having no masks.

    Args:
        ground_truth: COCO JSON.
        predictions: see :func:`nucdet.evaluation.predictions_io.read_predictions`.
        priority: which mask keeps pixels that several cover, ``"area"`` or ``"score"``.

    Raises:
        FileNotFoundError, InputError: a file is missing, or its content is wrong.
    """
    truth = GroundTruth(ground_truth)
    if not truth.images:
        raise InputError(f"{ground_truth}: found no images; expected at least one to evaluate")
    results = []
    all_predictions = read_predictions(predictions, truth)
    for prediction in ProgressBar(all_predictions, "scoring", len(truth.images)):
        if priority == "score" and prediction.scores is None:
            raise InputError(
                f"{predictions}: found no scores in it, which --priority score needs; "
                "use --priority area"
            )
        masks, _ = eliminate_overlaps(prediction.masks, prediction.scores, priority)
        true_masks = truth.masks(prediction.image.image_id)
        results.append(score_image(prediction.image, true_masks, masks))
    return results


def evaluate_predictions(
    ground_truth: _Path,
    predictions: _Path,
    priority: str = "area",
    per_image_csv: _Path | None = None,
    json_file: _Path | None = None,
) -> None:
    """:func:`score_files`, then print the tables and write the requested files."""
    results = score_files(ground_truth, predictions, priority)
    if per_image_csv is not None:
        write_per_image(results, per_image_csv)
    if json_file is not None:
        write_json(json_file, as_json(results))
    console = Console()
    for table in result_tables(results):
        console.print(table)
