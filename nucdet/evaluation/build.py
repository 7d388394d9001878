"""Builds the evaluators named in a config, all of which see masks after overlap elimination.

Importing this module imports all others of :mod:`nucdet.evaluation`, so that the evaluators which
they register (:mod:`nucdet.evaluation.registry`) can be found by their names.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import convert_to_coco_json
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators

from nucdet import evaluation
from nucdet.errors import InputError
from nucdet.evaluation.registry import EVALUATORS
from nucdet.postprocessing.overlap import OverlapElimination

_BOTH_GIVE_AP = ("coco", "livecell")

for _module in pkgutil.iter_modules(evaluation.__path__, f"{evaluation.__name__}."):
    importlib.import_module(_module.name)


class CleanedEvaluators(DatasetEvaluators):
    """Several evaluators that all see the model's output after overlap elimination.

    The elimination runs once per image; the results are merged into one OrderedDict, which is empty
    outside the main process.
    """

    def __init__(
        self, evaluators: Sequence[DatasetEvaluator], eliminate: OverlapElimination
    ) -> None:
        super().__init__(list(evaluators))
        self._eliminate = eliminate

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Eliminate the overlaps in a batch and pass it to each evaluator."""
        cleaned = [
            {**output, "instances": self._eliminate(output["instances"])} for output in outputs
        ]
        super().process(inputs, cleaned)


def check_evaluators(cfg: CfgNode) -> None:
    """Check TEST.EVALUATORS before any work.

    Detectron2 would fail on two evaluators with the same results only after the last image.

    Raises:
        InputError: an unknown name, a name given twice, or two that exclude each other.
    """
    names = list(cfg.TEST.EVALUATORS)
    where = "TEST.EVALUATORS in the config"
    unknown = [name for name in names if name not in EVALUATORS]
    if unknown:
        raise InputError(
            f"{where}: found {unknown[0]!r}, expected names among {', '.join(sorted(EVALUATORS))}"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{where}: found {twice[0]!r} twice, expected each name once")
    if set(_BOTH_GIVE_AP) <= set(names):
        raise InputError(
            f"{where}: found {' and '.join(map(repr, _BOTH_GIVE_AP))}, which both give the results "
            "bbox and segm; expected one of the two"
        )


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_folder: str | None = None
) -> DatasetEvaluator:
    """The evaluators of ``cfg.TEST.EVALUATORS``, after ``cfg.TEST.OVERLAP_ELIMINATION``.

    Args:
        cfg: a config with nucdet's keys.
        dataset_name: a data set of Detectron2's catalog. If it was registered without a COCO JSON,
            one is written for the evaluators, as by Detectron2's own.
        output_folder: where the evaluators write; None: OUTPUT_DIR/inference/<dataset_name>.

    Raises:
        InputError: see :func:`check_evaluators`, or the JSON cannot be read.
        FileNotFoundError: the data set's JSON is missing.
    """
    check_evaluators(cfg)
    folder = output_folder or str(Path(cfg.OUTPUT_DIR) / "inference" / dataset_name)
    _give_json(dataset_name, Path(folder))
    evaluators = [EVALUATORS[name](cfg, dataset_name, folder) for name in cfg.TEST.EVALUATORS]
    return CleanedEvaluators(evaluators, OverlapElimination(cfg))


def _give_json(name: str, folder: Path) -> None:
    """Write the COCO JSON of a data set that a function in the catalog describes."""
    if name in DatasetCatalog and not MetadataCatalog.get(name).get("json_file"):
        path = folder / f"{name}_coco_format.json"
        convert_to_coco_json(name, str(path), allow_cached=False)
        MetadataCatalog.get(name).json_file = str(path)
