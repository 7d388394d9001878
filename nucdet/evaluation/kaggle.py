"""Detectron2 evaluator for the Kaggle score."""

from __future__ import annotations

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from nucdet.evaluation.gather import gather_images
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.registry import evaluator
from nucdet.evaluation.report import render, result_tables, write_per_image
from nucdet.evaluation.scoring import ImageResult, score_image, summarize
from nucdet.structures import CroppedMasks


class KaggleEvaluator(DatasetEvaluator):
    """The Kaggle score under the task key ``kaggle``; for its metrics see :func:`summarize`.

    It scores each image at once and keeps only a few numbers. Only images that were processed
    count; the log warns if these are fewer than the ground truth has. Overlapping predictions are
    matched one to one without being changed; :func:`nucdet.evaluation.build.build_evaluator` adds
    overlap elimination.
    """

    def __init__(self, dataset_name: str, output_dir: str | None = None) -> None:
        """
        Args:
            dataset_name: a data set of Detectron2's catalog with a COCO JSON.
            output_dir: folder for ``kaggle_per_image.csv``; None: it is not written.

        Raises:
            InputError, FileNotFoundError: the data set's JSON is missing or cannot be read.
        """
        self._logger = logging.getLogger(__name__)
        self._truth = GroundTruth.of_dataset(dataset_name)
        self._output_dir = output_dir
        self._results: dict[int, ImageResult] = {}

    def reset(self) -> None:
        """Forget the images of an earlier round."""
        self._results = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Score a batch: inputs with ``image_id``, outputs with ``instances`` that hold masks."""
        for entry, output in zip(inputs, outputs, strict=True):
            image = self._truth.image(entry["image_id"])
            predicted = CroppedMasks.from_any(output["instances"].pred_masks)
            truth = self._truth.masks(image.image_id)
            self._results[image.image_id] = score_image(image, truth, predicted)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """``{"kaggle": metrics}`` in the main process, {} without any image; None in others."""
        gathered = gather_images(self._results)
        if gathered is None:
            return None
        if not gathered:
            self._logger.warning("no image was processed, so there is no Kaggle score")
            return OrderedDict()
        results = list(gathered.values())
        if len(results) < len(self._truth.images):
            self._logger.warning(
                f"{len(results)} of the {len(self._truth.images)} images of "
                f"{self._truth.json_file} were processed; the Kaggle score is theirs"
            )
        if self._output_dir is not None:
            write_per_image(results, Path(self._output_dir) / "kaggle_per_image.csv")
        self._logger.info("Kaggle score:\n" + render(result_tables(results)))
        return OrderedDict(kaggle=summarize(results))


@evaluator("kaggle")
def _build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return KaggleEvaluator(dataset_name, output_folder)
