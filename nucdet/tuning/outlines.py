"""Finds how far to move outlines so that they agree with those drawn by the annotators."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucdet.evaluation.generalisation import matched_radii
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.matching import Intersections, match
from nucdet.evaluation.predictions_io import read_predictions
from nucdet.postprocessing.outline_offset import offset_outlines
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.progress import ProgressBar


@dataclass(frozen=True)
class OffsetScore:
    """The score of one value of ``TEST.OUTLINE_OFFSET``.

    Attributes:
        offset: pixels.
        score: the Kaggle mAP, 0–100.
        bias: median over all matched pairs of the predicted minus the true radius (see
            :func:`nucdet.evaluation.generalisation.matched_radii`), pixels; NaN without matches.
    """

    offset: float
    score: float
    bias: float


def score_offsets(
    truth: GroundTruth,
    predictions: str | os.PathLike[str],
    elimination: OverlapElimination,
    offsets: Sequence[float],
) -> list[OffsetScore]:
    """Score the masks that remain after overlap elimination with each of the offsets.

    Args:
        truth: ground truth with at least one image.
        predictions: see :func:`nucdet.evaluation.predictions_io.read_predictions`.
        elimination: overlap elimination with an outline offset of 0.
        offsets: pixels.

    Raises:
        FileNotFoundError, InputError: the predictions cannot be read or do not fit the ground
            truth.
    """
    scores: dict[float, list[float]] = {offset: [] for offset in offsets}
    radii: dict[float, list[np.ndarray]] = {offset: [] for offset in offsets}
    read = read_predictions(predictions, truth)
    for prediction in ProgressBar(read, "outlines", len(truth.images)):
        true = truth.masks(prediction.image.image_id)
        true = true[true.areas > 0]
        left = elimination(prediction.as_instances(truth)).pred_masks
        for offset in scores:
            pairs = Intersections.of_masks(true, offset_outlines(left, offset))
            matching = match(pairs)
            scores[offset].append(matching.score)
            radii[offset].append(matched_radii(pairs, matching))
    return [
        OffsetScore(offset, 100 * float(np.mean(values)), _bias(np.concatenate(radii[offset])))
        for offset, values in scores.items()
    ]


def best_offset(scores: Sequence[OffsetScore]) -> OffsetScore:
    """The offset with the highest score; among equals, the one that moves outlines least."""
    return max(scores, key=lambda entry: (entry.score, -abs(entry.offset)))


def _bias(radii: np.ndarray) -> float:
    return float(np.median(radii[:, 1] - radii[:, 0])) if len(radii) else float("nan")
