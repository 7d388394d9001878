"""Detectron2 evaluator with the metrics of LIVECell's paper.

Edlund et al., "LIVECell — a large-scale dataset for label-free live cell segmentation", Nature
Methods 18, 1038–1045 (2021), https://doi.org/10.1038/s41592-021-01249-6, section "Evaluation".
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from rich.table import Table

from nucdet.evaluation.coco import DenseCOCOEvaluator
from nucdet.evaluation.gather import gather_images
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.matching import Intersections, match
from nucdet.evaluation.registry import evaluator
from nucdet.evaluation.report import new_table, render
from nucdet.evaluation.scoring import PERCENTS
from nucdet.structures import CroppedMasks

# per image in the paper's benchmark, where only those with the highest scores count
PUBLISHED_MAX_DETECTIONS = 2000


class LIVECellEvaluator(DenseCOCOEvaluator):
    """COCO's AP with LIVECell's sizes of cells, by IoU and cell type, and the AFNR.

    Metrics, in 0–100:

    - ``bbox``, ``segm``: AP, APs, APm, APl (cells with fewer than 320 pixels, with 320 to 970, with
      more), AP50, AP55 … AP95, and ``AP-<type>`` over the images of one cell type (the images'
      ``kind``) or, if the categories are the types, for that category;
    - ``livecell``: ``AFNR``, the average false-negative ratio: the share of an image's true cells
      that no predicted mask matches, mean over the images that have cells and over the IoU
      thresholds 0.50, 0.55 … 0.95; ``FNR50`` … ``FNR95`` at each of them; ``AFNR-<type>``. All
      predictions count, regardless of score and class, matched as for the Kaggle score (IoU
      greater than the threshold, as many pairs as possible).

    The limits of the sizes are those in the paper's text; the authors' script has 18² and 31².
    """

    # limits between whole numbers of pixels, so that no area equals one
    area_ranges = [[0, 1e10], [0, 319.5], [319.5, 970.5], [970.5, 1e10]]  # noqa: RUF012

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int = PUBLISHED_MAX_DETECTIONS,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            dataset_name, output_dir: see :class:`DenseCOCOEvaluator`.
            max_dets_per_image: number of detections per image that count in AP, those with the
                highest scores.
            **kwargs: see :class:`DenseCOCOEvaluator`.
        """
        super().__init__(dataset_name, output_dir, max_dets_per_image=max_dets_per_image, **kwargs)
        self._truth = GroundTruth.of_dataset(dataset_name)
        self._images_of_type: dict[str, list[int]] = defaultdict(list)
        for image in self._truth.images.values():
            if image.kind:
                self._images_of_type[image.kind].append(image.image_id)

    def reset(self) -> None:
        """Forget the predictions of an earlier round."""
        super().reset()
        self._missed: dict[int, np.ndarray] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Store the predictions of a batch, and the share of the true cells that they miss."""
        super().process(inputs, outputs)
        for entry, output in zip(inputs, outputs, strict=True):
            truth = self._truth.masks(entry["image_id"])
            truth = truth[truth.nonempty()]
            if len(truth):
                predicted = CroppedMasks.from_any(output["instances"].pred_masks)
                matching = match(Intersections.of_masks(truth, predicted))
                self._missed[entry["image_id"]] = 1 - matching.tp / len(truth)

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """``{"bbox": metrics, "segm": metrics, "livecell": metrics}``; None in other processes."""
        missed = gather_images(self._missed)
        results = super().evaluate()
        if missed and results is not None:
            results["livecell"] = self._false_negatives(missed)
            self._logger.info("LIVECell's metrics:\n" + render([self._table(results)]))
        return results

    def _table(self, results: Mapping[str, Mapping[str, float]]) -> Table:
        """AP and AFNR over all images and by cell type."""
        columns = {
            "bbox AP": ("bbox", "AP"),
            "segm AP": ("segm", "AP"),
            "AFNR": ("livecell", "AFNR"),
        }
        table = new_table("By cell type", "type", "images", *columns)
        sizes = {name: len(images) for name, images in sorted(self._images_of_type.items())}
        for name, size in {"all": len(self._truth.images), **sizes}.items():
            ending = "" if name == "all" else f"-{name}"
            values = (results[task].get(key + ending, math.nan) for task, key in columns.values())
            table.add_row(name, str(size), *("-" if math.isnan(v) else f"{v:.2f}" for v in values))
        return table

    def _false_negatives(self, missed: dict[int, np.ndarray]) -> dict[str, float]:
        by_threshold = 100 * np.mean(list(missed.values()), axis=0)
        metrics = {"AFNR": float(by_threshold.mean())}
        metrics |= {f"FNR{p}": float(v) for p, v in zip(PERCENTS, by_threshold, strict=True)}
        for cell_type, images in sorted(self._images_of_type.items()):
            shares = [missed[image_id] for image_id in images if image_id in missed]
            if shares:
                metrics[f"AFNR-{cell_type}"] = 100 * float(np.mean(shares))
        return metrics

    def _metrics(self, results: Sequence[dict[str, Any]], task: str) -> dict[str, float]:
        run = self._run(results, task)
        metrics = self._derive_coco_results(run, task, self._class_names)
        # (threshold, recall, category, area range, limit): over all areas, with the largest limit
        precision = run.eval["precision"][:, :, :, 0, -1]
        for percent, values in zip(PERCENTS, precision, strict=True):
            metrics[f"AP{percent}"] = _percent(values[values > -1])
        if len(self._class_names) == 1:
            for cell_type, images in sorted(self._images_of_type.items()):
                ap = self._run(results, task, images).stats[0]
                metrics[f"AP-{cell_type}"] = 100 * float(ap) if ap >= 0 else math.nan
        return metrics


def _percent(values: np.ndarray) -> float:
    return 100 * float(values.mean()) if values.size else math.nan


@evaluator("livecell")
def _build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return LIVECellEvaluator(
        dataset_name,
        output_folder,
        max_dets_per_image=max(cfg.TEST.DETECTIONS_PER_IMAGE, PUBLISHED_MAX_DETECTIONS),
        one_class=cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1,
    )
