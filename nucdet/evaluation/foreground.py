"""Scores the classification of pixels into nuclei and background, regardless of instances."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from nucdet.evaluation.gather import gather_images
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.registry import evaluator
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of one image: nucleus in both, only predicted, only true, in neither."""

    tp: int
    fp: int
    fn: int
    tn: int


def count_pixels(truth: CroppedMasks, predicted: CroppedMasks) -> PixelCounts:
    """Compare the unions of two sets of masks; masks within a set may overlap.

    Raises:
        ValueError: the sets belong to images of different sizes.
    """
    if truth.image_size != predicted.image_size:
        raise ValueError(f"masks of images of {truth.image_size} and {predicted.image_size} pixels")
    true, pred = truth.to_label_map() > 0, predicted.to_label_map() > 0
    tp = int(np.count_nonzero(true & pred))
    fp = int(np.count_nonzero(pred)) - tp
    fn = int(np.count_nonzero(true)) - tp
    return PixelCounts(tp, fp, fn, true.size - tp - fp - fn)


def summarize_pixels(counts: Sequence[PixelCounts]) -> dict[str, float]:
    """Metrics of a data set, in 0–100, from the counts of its images (at least one).

    - ``accuracy`` (TP+TN)/all, ``precision`` TP/(TP+FP), ``recall`` TP/(TP+FN),
      ``IoU`` TP/(TP+FP+FN), ``Dice`` 2TP/(2TP+FP+FN): over all pixels of the data set, so that
      large and dense images weigh most.
    - ``accuracy-image`` … ``Dice-image``: computed for each image, then averaged over the images.

    As in the Kaggle score, an image or data set without true and predicted nuclei counts 1; all
    metrics but the accuracy are 0 if only one side is empty.

    Example:
        >>> image, empty = PixelCounts(6, 2, 2, 90), PixelCounts(0, 0, 0, 100)
        >>> metrics = summarize_pixels([image, empty])
        >>> metrics["accuracy"], metrics["IoU"], metrics["IoU-image"]
        (98.0, 60.0, 80.0)
    """
    table = np.array([[c.tp, c.fp, c.fn, c.tn] for c in counts], dtype=np.float64)
    pooled, by_image = _shares(table.sum(axis=0, keepdims=True)), _shares(table)
    metrics = {name: 100 * float(share[0]) for name, share in pooled.items()}
    return metrics | {f"{name}-image": 100 * float(s.mean()) for name, s in by_image.items()}


def _shares(table: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric (N,), 0–1, of the N rows (tp, fp, fn, tn)."""
    tp, fp, fn, tn = table.T
    both_empty = tp + fp + fn == 0

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(both_empty, 1, part / np.maximum(whole, 1))

    return {
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "IoU": share(tp, tp + fp + fn),
        "Dice": share(2 * tp, 2 * tp + fp + fn),
    }


class ForegroundEvaluator(DatasetEvaluator):
    """Pixel metrics under the task key ``foreground``, see :func:`summarize_pixels`.

    It evaluates the union of each image's instances, so it works for any model, and keeps four
    numbers per image. Only images that were processed count.
    """

    def __init__(self, dataset_name: str) -> None:
        """
        Args:
            dataset_name: a data set of Detectron2's catalog with a COCO JSON.

        Raises:
            InputError, FileNotFoundError: the data set's JSON is missing or cannot be read.
        """
        self._logger = logging.getLogger(__name__)
        self._truth = GroundTruth.of_dataset(dataset_name)
        self._counts: dict[int, PixelCounts] = {}

    def reset(self) -> None:
        """Forget the images of an earlier round."""
        self._counts = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Count a batch: inputs with ``image_id``, outputs with ``instances`` that hold masks."""
        for entry, output in zip(inputs, outputs, strict=True):
            truth = self._truth.masks(entry["image_id"])
            predicted = CroppedMasks.from_any(output["instances"].pred_masks)
            self._counts[entry["image_id"]] = count_pixels(truth, predicted)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """``{"foreground": metrics}`` in the main process, {} without any image; None in others."""
        gathered = gather_images(self._counts)
        if gathered is None:
            return None
        if not gathered:
            self._logger.warning("no image was processed, so there are no foreground metrics")
            return OrderedDict()
        metrics = summarize_pixels(list(gathered.values()))
        lines = [f"{name:<16}{value:8.2f}" for name, value in metrics.items()]
        self._logger.info("Foreground of %d images:\n%s", len(gathered), "\n".join(lines))
        return OrderedDict(foreground=metrics)


@evaluator("foreground")
def _build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return ForegroundEvaluator(dataset_name)
