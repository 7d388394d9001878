"""Writes predictions as csv files in the formats of the two Kaggle competitions."""

from __future__ import annotations

import csv
import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from nucdet.errors import InputError
from nucdet.evaluation.gather import gather_images
from nucdet.evaluation.registry import evaluator
from nucdet.files import open_atomically
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class SubmissionFormat:
    """A csv with one row per mask; an image without masks has one row with an empty code.

    ``columns`` are image id (stem of the file name) and run-length code. Pixels are counted from 1,
    along the rows if ``row_major``, else down the columns.
    """

    columns: tuple[str, str]
    row_major: bool

    def encode(self, masks: CroppedMasks) -> list[str]:
        """The code of each mask."""
        return masks.to_sartorius_rle() if self.row_major else masks.to_kaggle_rle()

    def decode(self, codes: list[str], image_size: tuple[int, int]) -> CroppedMasks:
        """Masks of an image of (height, width) pixels; InputError for invalid codes."""
        if self.row_major:
            return CroppedMasks.from_sartorius_rle(codes, image_size)
        return CroppedMasks.from_kaggle_rle(codes, image_size)


SUBMISSION_FORMATS = {
    # https://www.kaggle.com/c/data-science-bowl-2018 and
    # https://www.kaggle.com/c/sartorius-cell-instance-segmentation, pages "Evaluation"
    "dsb": SubmissionFormat(("ImageId", "EncodedPixels"), row_major=False),
    "sartorius": SubmissionFormat(("id", "predicted"), row_major=True),
}


class SubmissionWriter(DatasetEvaluator):
    """Detectron2 evaluator that computes no metrics but writes ``submission.csv``.

    Rows are sorted by image id. Masks must not overlap, as both competitions demand;
    :func:`nucdet.evaluation.build.build_evaluator` adds overlap elimination.
    """

    def __init__(self, output_dir: str, format_name: str = "dsb") -> None:
        """
        Args:
            output_dir: folder for ``submission.csv``.
            format_name: a key of :data:`SUBMISSION_FORMATS`.
        """
        self._logger = logging.getLogger(__name__)
        self._path = Path(output_dir) / "submission.csv"
        self._format = SUBMISSION_FORMATS[format_name]
        self.reset()

    def reset(self) -> None:
        """Forget the predictions of an earlier round."""
        # by image id the file name and codes, and by stem the id and file name of its image
        self._rows: dict[int, tuple[str, list[str]]] = {}
        self._first: dict[str, tuple[int, str]] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Encode a batch: inputs with ``image_id`` and ``file_name``.

        Raises:
            InputError: masks of an image overlap, or another image has the same stem.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            _check_stem(self._first, entry["image_id"], entry["file_name"])
            masks = CroppedMasks.from_any(output["instances"].pred_masks)
            if np.count_nonzero(masks.to_label_map()) < masks.areas.sum():
                raise InputError(
                    f"{entry['file_name']}: predicted masks overlap, which a submission must not; "
                    "set TEST.OVERLAP_ELIMINATION.ENABLED True"
                )
            codes = [code for code in self._format.encode(masks) if code]
            self._rows[entry["image_id"]] = (entry["file_name"], codes or [""])

    def evaluate(self) -> OrderedDict[str, Any] | None:
        """Write the file in the main process; there are no metrics.

        Raises:
            InputError: two images have the same stem.
        """
        gathered = gather_images(self._rows)
        if gathered is None:
            return None
        first: dict[str, tuple[int, str]] = {}
        for image_id, (name, _) in gathered.items():  # including those of other processes
            _check_stem(first, image_id, name)
        rows = sorted((Path(name).stem, codes) for name, codes in gathered.values())
        with open_atomically(self._path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self._format.columns)
            for stem, codes in rows:
                writer.writerows((stem, code) for code in codes)
        self._logger.info(f"wrote {self._path} ({len(gathered)} images)")
        return OrderedDict()


def _check_stem(first: dict[str, tuple[int, str]], image_id: int, file_name: str) -> None:
    """Record the image of a stem; the masks of a second one would be taken for the first's.

    Raises:
        InputError: another image has the stem.
    """
    other_id, other_name = first.setdefault(Path(file_name).stem, (image_id, file_name))
    if other_id != image_id:
        raise InputError(
            f"{file_name}: {other_name} has the same stem, by which a submission names its images; "
            "rename one of the two, or take 'submission' out of TEST.EVALUATORS"
        )


@evaluator("submission")
def _build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
    format_name = "sartorius" if dataset_name.startswith("sartorius") else "dsb"
    return SubmissionWriter(output_folder, format_name)
