"""The evaluators that a config asks for, behind one overlap elimination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from nucdet.errors import InputError
from nucdet.evaluation.coco import DenseCOCOEvaluator
from nucdet.evaluation.foreground import ForegroundEvaluator
from nucdet.evaluation.kaggle import KaggleEvaluator
from nucdet.evaluation.livecell import PUBLISHED_MAX_DETECTIONS, LIVECellEvaluator
from nucdet.evaluation.submission import SubmissionWriter
from nucdet.postprocessing.overlap import OverlapElimination


def _build_coco(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    limit = cfg.TEST.DETECTIONS_PER_IMAGE
    return DenseCOCOEvaluator(dataset_name, output_folder, max_dets_per_image=limit)


def _build_kaggle(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return KaggleEvaluator(dataset_name, output_folder)


def _build_foreground(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return ForegroundEvaluator(dataset_name)


def _build_livecell(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    limit = max(cfg.TEST.DETECTIONS_PER_IMAGE, PUBLISHED_MAX_DETECTIONS)
    return LIVECellEvaluator(dataset_name, output_folder, max_dets_per_image=limit)


def _build_submission(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    format_name = "sartorius" if dataset_name.startswith("sartorius") else "dsb"
    return SubmissionWriter(output_folder, format_name)


# Names for cfg.TEST.EVALUATORS; a builder gets (cfg, dataset name, output folder). A system's
# package adds those that only its own model understands.
EVALUATORS: dict[str, Callable[[CfgNode, str, str], DatasetEvaluator]] = {
    "coco": _build_coco,
    "foreground": _build_foreground,
    "kaggle": _build_kaggle,
    "livecell": _build_livecell,
    "submission": _build_submission,
}


class CleanedEvaluators(DatasetEvaluators):
    """Several evaluators that all see the model's output after overlap elimination.

    It runs once an image; results come back merged into one OrderedDict, empty outside the main
    process.
    """

    def __init__(
        self, evaluators: Sequence[DatasetEvaluator], eliminate: OverlapElimination
    ) -> None:
        super().__init__(list(evaluators))
        self._eliminate = eliminate

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Clean a batch and hand it to each evaluator."""
        cleaned = [
            {**output, "instances": self._eliminate(output["instances"])} for output in outputs
        ]
        super().process(inputs, cleaned)


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_folder: str | None = None
) -> DatasetEvaluator:
    """The evaluators of ``cfg.TEST.EVALUATORS`` behind ``cfg.TEST.OVERLAP_ELIMINATION``.

    Args:
        cfg: a config with nucdet's keys.
        dataset_name: a data set of Detectron2's catalog with a COCO JSON.
        output_folder: where the evaluators write; by default OUTPUT_DIR/inference/<dataset_name>.

    Raises:
        InputError: an unknown evaluator name, or a JSON that cannot be read.
        FileNotFoundError: the data set's JSON is missing.
    """
    unknown = [name for name in cfg.TEST.EVALUATORS if name not in EVALUATORS]
    if unknown:
        raise InputError(
            f"TEST.EVALUATORS in the config: found {unknown[0]!r}, expected names among "
            f"{', '.join(EVALUATORS)}"
        )
    folder = output_folder or str(Path(cfg.OUTPUT_DIR) / "inference" / dataset_name)
    evaluators = [EVALUATORS[name](cfg, dataset_name, folder) for name in cfg.TEST.EVALUATORS]
    return CleanedEvaluators(evaluators, OverlapElimination(cfg))
