"""Scores of a tool on data sets of other laboratories: the Kaggle score, the measures used in the
literature on stained tissue, and how far the outlines are from those of the annotators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nucdet.evaluation.ground_truth import TrueImage
from nucdet.evaluation.matching import Intersections, Matching, match
from nucdet.evaluation.scoring import ImageResult, score_matching, summarize
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class ImageScores:
    """All scores of one image.

    Attributes:
        result: the Kaggle score and its counts.
        panoptic_quality: 0–1, see :func:`panoptic_quality`.
        aji: 0–1, see :func:`aggregated_jaccard_index`.
        radii: (K, 2) float64, pixels: true and predicted radius of each matched pair, see
            :func:`matched_radii`.
    """

    result: ImageResult
    panoptic_quality: float
    aji: float
    radii: np.ndarray


def score_everything(image: TrueImage, truth: CroppedMasks, predicted: CroppedMasks) -> ImageScores:
    """Score the predicted masks of one image; masks without a pixel do not count on either side.

    Raises:
        ValueError: the two sets belong to images of different sizes.
    """
    truth, predicted = truth[truth.areas > 0], predicted[predicted.areas > 0]
    intersections = Intersections.of_masks(truth, predicted)
    matching = match(intersections)
    return ImageScores(
        score_matching(image, intersections, matching),
        panoptic_quality(intersections, matching),
        aggregated_jaccard_index(intersections),
        matched_radii(intersections, matching),
    )


def panoptic_quality(intersections: Intersections, matching: Matching) -> float:
    """Panoptic quality of one image with one class: 0–1.

    PQ = Σ IoU(p, g) over the matched pairs / (TP + FP/2 + FN/2), where a match is an IoU above 1/2.
    It is 1 if there is neither a nucleus nor a mask.

    Source: A. Kirillov et al., Panoptic Segmentation, CVPR 2019, equation 1.

    Example:
        Two nuclei, one found exactly and one with 3 of its 4 pixels; a third mask is false:
        (1 + 3/4) / (2 + 1/2):

        >>> true = np.array([[1, 1, 0, 2, 2, 2, 2, 0, 0]])
        >>> pred = np.array([[1, 1, 0, 2, 2, 2, 0, 0, 3]])
        >>> found = Intersections.of_label_maps(true, pred)
        >>> panoptic_quality(found, match(found))
        0.7
    """
    sides = matching.n_true + matching.n_pred
    if sides == 0:
        return 1.0
    pairs = _matched_pairs(intersections, matching)
    return float((intersections.pixels[pairs] / intersections.unions[pairs]).sum() / (sides / 2))


def aggregated_jaccard_index(intersections: Intersections) -> float:
    """Aggregated Jaccard index (AJI) of one image: 0–1.

    Each nucleus G is assigned the mask S(G) with the highest IoU (of equals, the first; several
    nuclei may have the same one). With U the masks that are assigned to no nucleus,

        AJI = Σ |G ∩ S(G)| / (Σ |G ∪ S(G)| + Σ |S| over U),

    where a nucleus that no mask touches adds its own area to the denominator. It is 1 if there is
    neither a nucleus nor a mask.

    Source: N. Kumar et al., A Dataset and a Technique for Generalized Nuclear Segmentation for
    Computational Pathology, IEEE TMI 36(7), 2017, algorithm 1.

    Example:
        The first nucleus shares 2 pixels with a mask of 2 (union 3), the second is missed (4
        pixels), a mask of 1 pixel is false: 2 / (3 + 4 + 1):

        >>> true = np.array([[1, 1, 1, 0, 2, 2, 2, 2, 0, 0]])
        >>> pred = np.array([[1, 1, 0, 0, 0, 0, 0, 0, 0, 2]])
        >>> aggregated_jaccard_index(Intersections.of_label_maps(true, pred))
        0.25
    """
    true, pred = intersections.true, intersections.pred
    pixels, unions = intersections.pixels, intersections.unions
    if len(intersections.true_areas) + len(intersections.pred_areas) == 0:
        return 1.0
    # sorted by nucleus, with the best mask of each first
    order = np.lexsort((pred, -(pixels / unions), true))
    nuclei, first = np.unique(true[order], return_index=True)
    best = order[first]
    missed = np.delete(intersections.true_areas, nuclei).sum()
    unused = np.delete(intersections.pred_areas, np.unique(pred[best])).sum()
    return float(pixels[best].sum() / (unions[best].sum() + missed + unused))


def matched_radii(intersections: Intersections, matching: Matching) -> np.ndarray:
    """Radii √(area/π) of discs with the areas of nucleus and mask, for pairs with an IoU above 1/2.

    Returns:
        (K, 2) float64, pixels: true, predicted.
    """
    pairs = _matched_pairs(intersections, matching)
    areas = (
        intersections.true_areas[intersections.true[pairs]],
        intersections.pred_areas[intersections.pred[pairs]],
    )
    return np.sqrt(np.stack(areas, axis=1) / np.pi)


def _matched_pairs(intersections: Intersections, matching: Matching) -> np.ndarray:
    """Which of the touching pairs are matched at an IoU above 1/2: (K,) bool."""
    return matching.partner[0][intersections.true] == intersections.pred


def summarize_set(scores: Sequence[ImageScores]) -> dict[str, float]:
    """One row of the table from the images of a data set (at least one).

    - ``images``, ``nuclei``, ``masks``, ``found``: numbers; found: matched at an IoU above 0.5.
    - ``mAP``, ``AP50``, ``precision``, ``recall`` (both at 0.5), ``PQ``, ``AJI``: 0–100, of each
      image and then averaged over the images.
    - ``count error %``, ``count bias %``: see :func:`count_deviation`.
    - ``outline bias px``, ``outline bias %``: the median over all matched pairs of the predicted
      minus the true radius, in pixels and in percent of the true one (which is the same for
      diameters); NaN if nothing matches.
    """
    results = [s.result for s in scores]
    kaggle = summarize(results)
    nuclei = np.array([r.n_true for r in results])
    masks = np.array([r.n_pred for r in results])
    true, pred = np.concatenate([s.radii for s in scores]).T
    return {
        "images": len(scores),
        "nuclei": int(nuclei.sum()),
        "masks": int(masks.sum()),
        "found": sum(int(r.tp[0]) for r in results),
        "mAP": kaggle["mAP"],
        "AP50": kaggle["AP50"],
        "precision": kaggle["precision-50"],
        "recall": kaggle["recall-50"],
        "PQ": 100 * float(np.mean([s.panoptic_quality for s in scores])),
        "AJI": 100 * float(np.mean([s.aji for s in scores])),
        **count_deviation(nuclei, masks),
        "outline bias px": _median(pred - true),
        "outline bias %": _median(100 * (pred - true) / true),
    }


def count_deviation(nuclei: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """How much the numbers of masks of N images, (N,), deviate from those of nuclei, (N,).

    Returns:
        ``count error %``, the mean over the images of |masks − nuclei| / nuclei, and
        ``count bias %``, that of (masks − nuclei) / nuclei; for an image without nuclei the
        denominator is 1.
    """
    surplus = (masks - nuclei) / np.maximum(nuclei, 1)
    return {
        "count error %": 100 * float(np.abs(surplus).mean()),
        "count bias %": 100 * float(surplus.mean()),
    }


def per_image_table(scores: Sequence[ImageScores]) -> pd.DataFrame:
    """The columns of :func:`summarize_set` for each image, named in ``image`` by its stem."""
    rows = [{"image": s.result.image.stem, **summarize_set([s])} for s in scores]
    return pd.DataFrame(rows).drop(columns="images")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
