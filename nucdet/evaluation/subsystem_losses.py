"""The losses of CropRCNN's parts on a data set, compared with those in report 000."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from nucdet.errors import InputError
from nucdet.evaluation.gather import gather_images
from nucdet.evaluation.registry import evaluator
from nucdet.evaluation.report import new_table, render

# the report's validation losses: before training, after it, and after it on perturbed images
_REPORTED = {
    "rpn_objectness": (0.6865, 0.0983, 0.1138),
    "rpn_box": (0.0277, 0.0202, 0.0227),
    "filter": (0.7350, 0.0122, 0.0529),
    "mask": (0.8074, 0.3853, 0.4084),
}
# measured as shares, reported in percent
_SHARES = ("filter_accuracy", "filter_false", "recall_")


class SubsystemLossEvaluator(DatasetEvaluator):
    """Losses and accuracies of CropRCNN's parts under the task key ``subsystems``.

    The model itself measures them if its inputs have ground truth (:meth:`CropRCNN.measure`). The
    results are means: over the images for the RPN's losses, over the crops for the filter, over the
    pixels for the masks, and over the nuclei for the recall of the proposals. Shares are 0–100.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger(__name__)
        self._measures: dict[int, dict[str, tuple[float, int]]] = {}

    def reset(self) -> None:
        """Forget the images of an earlier round."""
        self._measures = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Store a batch: inputs with ``image_id``, outputs with ``subsystems``.

        Raises:
            InputError: an output has no ``subsystems``.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            if "subsystems" not in output:
                raise InputError(
                    "TEST.EVALUATORS has 'subsystems', but the model has no parts to measure; take "
                    "it out, or set MODEL.META_ARCHITECTURE 'CropRCNN'"
                )
            self._measures[entry["image_id"]] = output["subsystems"]

    def evaluate(self) -> OrderedDict[str, dict[str, float]] | None:
        """``{"subsystems": metrics}`` in the main process, {} without images; None in others."""
        gathered = gather_images(self._measures)
        if gathered is None:
            return None
        if not gathered:
            self._logger.warning("no image was processed, so there are no losses of subsystems")
            return OrderedDict()
        metrics = {}
        for name in next(iter(gathered.values())):
            total = sum(measures[name][0] for measures in gathered.values())
            count = sum(measures[name][1] for measures in gathered.values())
            if count:
                metrics[name] = total / count * (100 if name.startswith(_SHARES) else 1)
        self._logger.info("Subsystems on %d images:\n%s", len(gathered), _render(metrics))
        return OrderedDict(subsystems=metrics)


def _render(metrics: dict[str, float]) -> str:
    columns = ("here", "report 000: before", "after", "perturbed")
    table = new_table("Losses of the parts", "", *columns)
    for name, value in metrics.items():
        reported = [f"{loss:.4f}" for loss in _REPORTED.get(name, ())]
        table.add_row(name, f"{value:.4f}" if name in _REPORTED else f"{value:.1f} %", *reported)
    return render([table])


@evaluator("subsystems")
def _build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    return SubsystemLossEvaluator()
