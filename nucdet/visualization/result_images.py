"""Pictures of a prediction beside the truth, the worst first if wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth, TrueImage
from nucdet.evaluation.predictions_io import Prediction, read_predictions
from nucdet.evaluation.scoring import score_image
from nucdet.postprocessing.overlap import eliminate_overlaps
from nucdet.structures import CroppedMasks
from nucdet.visualization.comparison import draw_comparison
from nucdet.visualization.files import check_number, picture_names, save_png

SORTS = ("name", "worst", "best")

_Path = str | os.PathLike[str]


class _Scored(NamedTuple):
    image: TrueImage
    masks: CroppedMasks
    score: float


def visualize_results(
    predictions: _Path,
    output_dir: _Path,
    dataset: str | None = None,
    ground_truth: _Path | None = None,
    image_root: _Path | None = None,
    num: int | None = None,
    score_threshold: float | None = None,
    sort: str = "name",
) -> list[Path]:
    """Draw each picture's prediction beside its truth, as ``<name of the picture>.png``.

    Overlaps are eliminated as in evaluation ("area"), so that the scores are those of
    tools/evaluate_predictions.py; they are printed with the files.

    Args:
        predictions: see :func:`nucdet.evaluation.predictions_io.read_predictions`.
        output_dir: made if missing; files of an earlier run are overwritten.
        dataset: name of a registered data set, e.g. "dsb2018_val"; or
        ground_truth: COCO JSON.
        image_root: folder to which the JSON's file names are relative; if not given, that of the
            data set, or the folder above the one of the JSON (``<root>/annotations/x.json``).
        num: how many pictures, the first in order of ``sort``; None: all.
        score_threshold: predictions with a lower score are left out; None: none.
        sort: "name", or "worst" or "best" by the picture's Kaggle score.

    Returns:
        The files, in the order of ``sort``.

    Raises:
        InputError, FileNotFoundError: what is wrong with the files or arguments, in one line.
    """
    check_number(num)
    if sort not in SORTS:
        raise InputError(f"found sort {sort!r}; expected one of {SORTS}")
    truth, root = _open_truth(dataset, ground_truth, image_root)
    scored = [
        _score(prediction, truth, score_threshold, predictions)
        for prediction in tqdm(
            read_predictions(predictions, truth), "scoring", len(truth.images), disable=None
        )
    ]
    scored.sort(key=lambda s: s.image.file_name)
    if sort != "name":
        scored.sort(key=lambda s: s.score, reverse=sort == "best")  # stable: ties stay by name
    names = picture_names([s.image.file_name for s in scored])
    files = []
    for item, name in zip(tqdm(scored[:num], "drawing", disable=None), names, strict=False):
        picture = _read(root, item.image)
        true_masks = truth.masks(item.image.image_id)
        files.append(Path(output_dir, name))
        save_png(files[-1], draw_comparison(picture, item.masks, true_masks, name=item.image.stem))
        tqdm.write(f"{item.score:.3f}  {files[-1]}")
    return files


def _open_truth(
    dataset: str | None, ground_truth: _Path | None, image_root: _Path | None
) -> tuple[GroundTruth, Path]:
    """The true masks and the folder of the images."""
    if (dataset is None) == (ground_truth is None):
        raise InputError("give either a data set or a ground truth JSON, not both")
    if dataset is None:
        truth, root = GroundTruth(ground_truth), Path(ground_truth).absolute().parent.parent
    else:
        register_datasets()
        check_datasets([dataset])
        truth = GroundTruth.of_dataset(dataset)
        root = Path(MetadataCatalog.get(dataset).image_root)
    if not truth.images:
        raise InputError(f"{truth.json_file}: found no images, nothing to draw; expected some")
    return truth, Path(root if image_root is None else image_root)


def _score(
    prediction: Prediction, truth: GroundTruth, threshold: float | None, source: _Path
) -> _Scored:
    masks, scores, image = prediction.masks, prediction.scores, prediction.image
    if threshold is not None:
        if scores is None:
            raise InputError(f"{source}: found no scores in it, which a score threshold needs")
        masks = masks[scores >= threshold]
    masks, _ = eliminate_overlaps(masks)
    return _Scored(image, masks, score_image(image, truth.masks(image.image_id), masks).score)


def _read(root: Path, image: TrueImage) -> np.ndarray:
    path = root / image.file_name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such image; give the folder of the images with --image-root"
        )
    picture = read_image(path)
    if picture.shape[:2] != (image.height, image.width):
        raise InputError(
            f"{path}: is {picture.shape[0]}×{picture.shape[1]} pixels, the ground truth says "
            f"{image.height}×{image.width} (height×width); give the right --image-root"
        )
    return picture
