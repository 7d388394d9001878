"""Draws predictions next to the ground truth, optionally the worst images first."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import MetadataCatalog

from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth, TrueImage
from nucdet.evaluation.predictions_io import Prediction, read_predictions
from nucdet.evaluation.scoring import score_image
from nucdet.image_names import NamedFiles
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.postprocessing.rules import OverlapSettings
from nucdet.progress import ProgressBar
from nucdet.structures import CroppedMasks
from nucdet.visualization.comparison import draw_comparison
from nucdet.visualization.files import check_number, image_names, save_png

SORTS = ("name", "worst", "best")

_Path = str | os.PathLike[str]


class _Scored(NamedTuple):
    image: TrueImage
    masks: CroppedMasks
    score: float


@dataclass(frozen=True)
class TruthSource:
    """Where the ground truth and the images come from.

    Attributes:
        dataset: name of a registered data set, e.g. "dsb2018_val"; None: ``ground_truth`` is given.
        ground_truth: a COCO JSON; None: ``dataset`` is given.
        image_root: folder to which the JSON's file names are relative; None: that of the data set,
            or the parent of the JSON's folder (``<root>/annotations/x.json``).
    """

    dataset: str | None = None
    ground_truth: _Path | None = None
    image_root: _Path | None = None

    def open(self) -> tuple[GroundTruth, Path]:
        """Read the ground truth, and return it with the folder of the images.

        Raises:
            InputError, FileNotFoundError: neither or both of data set and JSON are given, one does
                not exist, or there are no images.
        """
        if (self.dataset is None) == (self.ground_truth is None):
            raise InputError("give either a data set or a ground truth JSON, not both")
        if self.dataset is None:
            truth = GroundTruth(self.ground_truth)
            root = Path(self.ground_truth).absolute().parent.parent
        else:
            register_datasets()
            check_datasets([self.dataset])
            truth = GroundTruth.of_dataset(self.dataset)
            root = Path(MetadataCatalog.get(self.dataset).image_root)
        if not truth.images:
            raise InputError(f"{truth.json_file}: found no images, nothing to draw; expected some")
        return truth, Path(root if self.image_root is None else self.image_root)


def visualize_results(
    predictions: _Path,
    output_dir: _Path,
    source: TruthSource,
    *,
    num: int | None = None,
    score_threshold: float | None = None,
    sort: str = "name",
    elimination: OverlapElimination | None = None,
) -> list[Path]:
    """Draw each image's prediction next to its ground truth, as ``<name of the image>.png``.

    The score and path of each image are printed.

    Args:
        predictions: see :func:`nucdet.evaluation.predictions_io.read_predictions`.
        output_dir: created if missing; files of an earlier run are overwritten.
        source: the ground truth and the images.
        num: draw only this many images, the first in the order of ``sort``; None: all.
        score_threshold: predictions with a lower score are left out; None: none are.
        sort: "name", or "worst" or "best" by the image's Kaggle score.
        elimination: rules for overlaps, such as those of a config; None: the largest mask keeps
            pixels that several masks cover, as in :func:`nucdet.evaluation.offline.score_files`.

    Returns:
        The paths of the images, in the order of ``sort``.

    Raises:
        InputError, FileNotFoundError: a mistake in the files or arguments.
    """
    check_number(num)
    if sort not in SORTS:
        raise InputError(f"found sort {sort!r}; expected one of {SORTS}")
    if elimination is None:
        elimination = OverlapElimination(enabled=True, settings=OverlapSettings())
    truth, root = source.open()
    scored = [
        _score(prediction, truth, score_threshold, elimination, predictions)
        for prediction in ProgressBar(
            read_predictions(predictions, truth), "scoring", len(truth.images)
        )
    ]
    scored.sort(key=lambda s: s.image.file_name)
    if sort != "name":
        scored.sort(key=lambda s: s.score, reverse=sort == "best")  # stable: ties stay by name
    names = image_names([s.image.file_name for s in scored])
    files = []
    for item, name in zip(ProgressBar(scored[:num], "drawing"), names, strict=False):
        pixels = _read(root, item.image)
        true_masks = truth.masks(item.image.image_id)
        files.append(Path(output_dir, name))
        save_png(files[-1], draw_comparison(pixels, item.masks, true_masks, name=item.image.stem))
        ProgressBar.write(f"{item.score:.3f}  {files[-1]}", sys.stdout)
    return files


def _score(
    prediction: Prediction,
    truth: GroundTruth,
    threshold: float | None,
    elimination: OverlapElimination,
    source: _Path,
) -> _Scored:
    instances, image = prediction.as_instances(truth), prediction.image
    if threshold is not None:
        if prediction.scores is None:
            raise InputError(f"{source}: found no scores in it, which a score threshold needs")
        instances = instances[instances.scores >= threshold]
    masks = elimination(instances).pred_masks
    return _Scored(image, masks, score_image(image, truth.masks(image.image_id), masks).score)


def _read(root: Path, image: TrueImage) -> np.ndarray:
    path = root / image.file_name
    if not path.is_file():
        path = NamedFiles(root).find(image.file_name)
    if path is None:
        raise FileNotFoundError(
            f"{root / image.file_name}: no such image; give the folder of the images with "
            "--image-root"
        )
    pixels = read_image(path)
    if pixels.shape[:2] != (image.height, image.width):
        raise InputError(
            f"{path}: is {pixels.shape[0]}×{pixels.shape[1]} pixels, the ground truth says "
            f"{image.height}×{image.width} (height×width); give the right --image-root"
        )
    return pixels
