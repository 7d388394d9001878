"""Reads predictions of nucdet or any other tool from files, for images with ground truth."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import torch
from detectron2.structures import Instances

from nucdet.data.coco_entries import (
    check_categories,
    check_file_name,
    check_id,
    check_image_id,
)
from nucdet.data.io.label_maps import LABEL_SUFFIXES, read_label_map
from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth, TrueImage
from nucdet.evaluation.submission import SUBMISSION_FORMATS
from nucdet.files import read_json
from nucdet.image_names import check_distinct, composed, stem_of
from nucdet.structures import CroppedMasks

# What nucdet and cellpose append to the stem of the image when they save its labels. Fewer than a
# converter knows: files without the ending are ignored, so each additional one may hide some.
_LABEL_ENDINGS = ("_label", "_cp_masks", "_seg")


@dataclass(frozen=True)
class Prediction:
    """The predicted masks of one image.

    ``scores`` (N,) float64 and ``categories`` (N,), ids of the COCO JSON, are None if the file has
    none.
    """

    image: TrueImage
    masks: CroppedMasks
    scores: np.ndarray | None
    categories: np.ndarray | None = None

    def classes(self, truth: GroundTruth) -> np.ndarray:
        """(N,) int64: the index of each category in the ground truth's; 0 if there are none.

        Raises:
            InputError: a category that the ground truth does not have.
        """
        if self.categories is None or not truth.categories:
            return np.zeros(len(self.masks), np.int64)
        known = np.array(sorted(truth.categories))
        classes = np.searchsorted(known, self.categories)
        wrong = known[np.minimum(classes, len(known) - 1)] != self.categories
        if wrong.any():
            raise InputError(
                f"found category_id {self.categories[wrong][0]} in predictions of image "
                f"{self.image.file_name}; expected the ground truth's, "
                f"{', '.join(map(str, known.tolist()))}"
            )
        return classes

    def as_instances(self, truth: GroundTruth) -> Instances:
        """The input of :class:`nucdet.postprocessing.OverlapElimination`.

        ``pred_classes`` are indices of the ground truth's categories (0 for all masks if the file
        has no categories); ``scores`` are set only if the file has some.

        Args:
            truth: the ground truth that contains this image.

        Raises:
            InputError: a category that the ground truth does not have.
        """
        instances = Instances(self.masks.image_size, pred_masks=self.masks)
        instances.pred_classes = torch.from_numpy(self.classes(truth))
        if self.scores is not None:
            instances.scores = torch.from_numpy(self.scores)
        return instances


_Decoder = Callable[[TrueImage], Prediction]


def read_predictions(path: str | os.PathLike[str], truth: GroundTruth) -> Iterator[Prediction]:
    """Read predictions for every image of the ground truth.

    Args:
        path: one of

            - COCO results (``.json``): a list of objects with image_id, segmentation (RLE), score;
            - a COCO JSON (``.json``) whose annotations have a score, as nucdet-predict writes it:
              its images are found by their names, whatever their ids;
            - a submission (``.csv``), columns ImageId,EncodedPixels (column-major, 2018 Data
              Science Bowl) or id,predicted (row-major, Sartorius);
            - a folder of label images (PNG or TIFF, or if there are none npy; see
              :func:`nucdet.data.io.label_maps.read_label_map`), named like the images,
              with or without ``_label``, ``_cp_masks`` or ``_seg`` after the stem (if with, other
              files are ignored).
        truth: lists the images; names in a csv or folder are the stems of their file names, or the
            whole file names.

    Returns:
        An iterator over all images of the ground truth, decoded one at a time; those without a
        prediction have no masks.

    Raises:
        FileNotFoundError: there is no such file or folder.
        InputError: at once or during iteration: an unknown image or format, damaged content, masks
            that do not fit their image.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        decode = _open_label_folder(path, truth)
    elif path.suffix.lower() == ".json":
        decode = _open_coco_results(path, truth)
    elif path.suffix.lower() == ".csv":
        decode = _open_submission(path, truth)
    else:
        raise InputError(
            f"{path}: found a file ending with {path.suffix!r}; expected COCO results (.json), "
            "a submission (.csv) or a folder of label images"
        )
    return (decode(image) for image in truth.images.values())


def _open_coco_results(path: Path, truth: GroundTruth) -> _Decoder:
    entries = read_json(path)
    by_image: dict[int, list[tuple[dict, float, int]]] = defaultdict(list)
    if isinstance(entries, dict) and {"images", "annotations"} <= entries.keys():
        entries = _as_results(path, entries, truth)
    if not isinstance(entries, list):
        raise InputError(
            f"{path}: found a JSON {type(entries).__name__}; expected a list of COCO results, "
            "objects with image_id, segmentation, score"
        )
    for number, entry in enumerate(entries):
        try:
            category = int(entry.get("category_id", 1))
            result = (entry["segmentation"], _score(entry["score"]), category)
            by_image[entry["image_id"]].append(result)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path}: result {number} is no COCO result with a mask "
                f"({type(error).__name__}: {error}); expected image_id, segmentation, score"
            ) from error
    for image_id in by_image:
        if image_id not in truth.images:
            raise _unknown_image(path, f"image_id {image_id!r}", truth)

    def decode(image: TrueImage) -> Prediction:
        results = by_image.get(image.image_id, [])
        rles = [rle for rle, _, _ in results]
        masks = _naming(path, image, CroppedMasks.from_coco_rle, rles, _size(image))
        scores = np.array([score for _, score, _ in results], float)
        categories = np.array([category for _, _, category in results], np.int64)
        return Prediction(image, masks, scores, categories)

    return decode


def _as_results(path: Path, content: dict[str, Any], truth: GroundTruth) -> list[dict[str, Any]]:
    """The annotations of a COCO JSON, with the ground truth's ids for their images and categories.

    Categories have the same name there, or it has only one.
    """
    for member in ("images", "annotations", "categories"):
        if not isinstance(content.get(member, []), list):
            found = str(content[member])[:40]
            raise InputError(f"{path}: {member} is {found}; expected a list, as in a COCO JSON")
    images = _image_ids(path, content["images"], truth)
    names = check_categories(path, content.get("categories", ()))
    ids = {name: number for number, name in truth.categories.items()}
    if len(ids) <= 1:
        ids = dict.fromkeys(names.values(), next(iter(truth.categories), 1))
    elif unknown := sorted(set(names.values()) - ids.keys()):
        raise InputError(
            f"{path}: found the category {unknown[0]!r}; expected the ground truth's, "
            f"{', '.join(sorted(ids))}"
        )
    results = []
    for entry in content["annotations"]:
        image_id, category = (check_id(path, entry, key) for key in ("image_id", "category_id"))
        if image_id not in images or category not in names:
            raise InputError(
                f"{path}: annotation {entry.get('id')} has image_id {image_id!r} and category_id "
                f"{category!r}; expected ids of its images and categories"
            )
        ours = {"image_id": images[image_id], "category_id": ids[names[category]]}
        results.append({**entry, **ours})
    return results


def _image_ids(path: Path, entries: list[Any], truth: GroundTruth) -> dict[int | str, int]:
    """The ground truth's id of each image of a COCO JSON, by its id there."""
    ids: dict[int | str, int] = {}
    taken: set[int] = set()
    for entry in entries:
        number = check_image_id(path, entry, ids)
        name = PurePath(check_file_name(path, entry)).name
        image = truth.named(name) or truth.named(stem_of(name))
        if image is None:
            raise _unknown_image(path, f"image {name!r}", truth)
        if image.image_id in taken:
            raise InputError(
                f"{path}: two of its images are {name} (planes of a stack?); expected one"
            )
        taken.add(image.image_id)
        ids[number] = image.image_id
    return ids


def _score(value: Any) -> float:
    """Check that a score is a finite number; text and NaN cannot be sorted.

    COCO's tools only sort by scores, so those of other tools need not lie between 0 and 1.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"score is {str(value)[:40]!r}, no finite number")
    return float(value)


def _open_submission(path: Path, truth: GroundTruth) -> _Decoder:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a csv file ({error})") from error
    for layout in SUBMISSION_FORMATS.values():
        if set(layout.columns) <= set(frame.columns):
            break
    else:
        expected = " or ".join(",".join(f.columns) for f in SUBMISSION_FORMATS.values())
        raise InputError(
            f"{path}: found columns {','.join(map(str, frame.columns))}; expected {expected}"
        )
    name, code = layout.columns
    codes_of: dict[int, list[str]] = {}
    for image_name, texts in frame.groupby(name)[code]:
        image = truth.named(image_name)
        if image is None:
            raise _unknown_image(path, f"image {image_name!r}", truth)
        codes_of.setdefault(image.image_id, []).extend(texts)

    def decode(image: TrueImage) -> Prediction:
        codes = [text for text in codes_of.get(image.image_id, []) if text.strip()]
        masks = _naming(path, image, layout.decode, codes, _size(image))
        return Prediction(image, masks, None)

    return decode


def _open_label_folder(path: Path, truth: GroundTruth) -> _Decoder:
    files = _label_files(path, truth)

    def decode(image: TrueImage) -> Prediction:
        file = files.get(image.image_id)
        if file is None:
            return Prediction(image, CroppedMasks.empty(_size(image)), None)
        labels = read_label_map(file, _size(image))
        return Prediction(image, CroppedMasks.from_label_map(labels), None)

    return decode


def _label_files(folder: Path, truth: GroundTruth) -> dict[int, Path]:
    """The label image by image id; every file must belong to an image, and no two to the same."""
    candidates = sorted(f for f in folder.iterdir() if f.suffix.lower() in LABEL_SUFFIXES)
    # arrays in a folder of label images may hold anything, such as the flows of cellpose
    candidates = [f for f in candidates if f.suffix.lower() != ".npy"] or candidates
    if not candidates:
        raise InputError(f"{folder}: found no label images; expected .png, .tif or .npy files")
    check_distinct(candidates)
    stems = [composed(stem_of(file.name)) for file in candidates]
    ending = _ending_of(stems, truth.images_by_name)
    files: dict[int, Path] = {}
    for file in candidates:
        if not stem_of(file.name).endswith(ending):
            continue
        name = stem_of(file.name).removesuffix(ending)
        image = truth.named(name)
        if image is None:
            raise _unknown_image(file, f"image {name!r}", truth)
        other = files.setdefault(image.image_id, file)
        if other != file:
            raise InputError(
                f"{file}: {other.name} is there for the same image; keep one of the two"
            )
    return files


def _ending_of(stems: Sequence[str], known: Container[str]) -> str:
    """The known ending of the label images; "" if they are named like the images."""
    for ending in _LABEL_ENDINGS:
        if any(
            s.endswith(ending) and s not in known and s.removesuffix(ending) in known for s in stems
        ):
            return ending
    return ""


def _size(image: TrueImage) -> tuple[int, int]:
    return image.height, image.width


def _naming(
    path: Path, image: TrueImage, decode: Callable[..., CroppedMasks], *args: Any
) -> CroppedMasks:
    """The result of ``decode(*args)``; its errors are extended by the names of file and image."""
    try:
        return decode(*args)
    except InputError as error:
        raise InputError(f"{path}: image {image.file_name}: {error}") from error


def _unknown_image(path: Path, found: str, truth: GroundTruth) -> InputError:
    return InputError(
        f"{path}: found a prediction for {found}, but {truth.json_file} has no such image; "
        "evaluate with the ground truth of the images that were predicted"
    )
