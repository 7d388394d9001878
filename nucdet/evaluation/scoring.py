"""The Kaggle score of one image and of a set of images, and the counts that explain it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucdet.evaluation.error_table import count_errors
from nucdet.evaluation.ground_truth import TrueImage
from nucdet.evaluation.matching import TWENTIETHS, Intersections, Matching, match
from nucdet.structures import CroppedMasks

# smallest area in pixels of each size class; they hold about 1/4, 1/2 and 1/4 of DSB2018's nuclei
SIZE_CLASSES = {"small": 0, "medium": 128, "large": 512}
# the thresholds as in metric names: 50, 55 … 95
PERCENTS = tuple(int(k) * 5 for k in TWENTIETHS)


@dataclass(frozen=True)
class ImageResult:
    """The counts of one image from which scores are computed, small enough to keep for all images.

    ``tp`` (10,) counts the matched pairs at each threshold. ``size_true`` (3,) and ``size_tp``
    (3, 10) count the true and the matched nuclei of each of :data:`SIZE_CLASSES`. ``errors`` are
    the counts of :func:`nucdet.evaluation.error_table.count_errors`.
    """

    image: TrueImage
    n_true: int
    n_pred: int
    tp: np.ndarray
    score: float
    size_true: np.ndarray
    size_tp: np.ndarray
    errors: dict[str, int]


def score_image(image: TrueImage, truth: CroppedMasks, predicted: CroppedMasks) -> ImageResult:
    """Score the predicted masks of one image; masks within either set may overlap.

    Masks without a pixel do not count on either side.
    """
    truth, predicted = truth[truth.areas > 0], predicted[predicted.areas > 0]
    intersections = Intersections.of_masks(truth, predicted)
    return score_matching(image, intersections, match(intersections))


def score_matching(
    image: TrueImage, intersections: Intersections, matching: Matching
) -> ImageResult:
    """:func:`score_image` for masks that are already matched."""
    matched = matching.partner >= 0
    sizes = np.digitize(intersections.true_areas, list(SIZE_CLASSES.values())[1:])
    classes = range(len(SIZE_CLASSES))
    return ImageResult(
        image=image,
        n_true=matching.n_true,
        n_pred=matching.n_pred,
        tp=matching.tp,
        score=matching.score,
        size_true=np.bincount(sizes, minlength=len(SIZE_CLASSES)),
        size_tp=np.stack([matched[:, sizes == c].sum(axis=1) for c in classes]),
        errors=count_errors(intersections, matching),
    )


def summarize(results: Sequence[ImageResult]) -> dict[str, float]:
    """Metrics of a data set, in 0–100, from the results of its images (at least one).

    - ``mAP``: the Kaggle score; ``AP50`` … ``AP95``: its precision TP/(TP+FP+FN) at each threshold.
    - ``precision-50`` … (TP/(TP+FP)), ``recall-50`` … (TP/(TP+FN)), ``F1-50`` … (2TP/(2TP+FP+FN)).
      Like the score, all are computed for each image and averaged over the images, and an image
      counts 1 if it has neither nuclei nor predictions, and 0 if only one side is empty.
    - ``mAP-<kind>``: the score over the images of one kind, if the JSON names kinds.
    - ``recall50-<size>``, ``AR-<size>``: share of all nuclei of a size class that are matched at
      0.5, and its mean over the thresholds. There is no precision by size, since a false mask
      belongs to no nucleus, hence to no class. Sizes without a nucleus are left out.
    - ``errors-<verdict>``: counts, not percentages, of :func:`count_errors`.
    """
    tp = np.stack([r.tp for r in results])
    n_true = np.array([[r.n_true] for r in results])
    n_pred = np.array([[r.n_pred] for r in results])
    both_empty = (n_true + n_pred == 0).ravel()

    def mean_share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        shares = part / np.maximum(whole, 1)
        shares[both_empty] = 1
        return 100 * shares.mean(axis=0)

    ap = mean_share(tp, n_true + n_pred - tp)
    metrics = {"mAP": float(ap.mean())}
    metrics |= _by_threshold("AP", ap)
    metrics |= _by_threshold("precision-", mean_share(tp, n_pred))
    metrics |= _by_threshold("recall-", mean_share(tp, n_true))
    metrics |= _by_threshold("F1-", mean_share(2 * tp, n_true + n_pred))
    for kind, members in by_kind(results).items():
        metrics[f"mAP-{kind}"] = 100 * float(np.mean([r.score for r in members]))
    metrics |= _by_size(results)
    metrics |= {f"errors-{name}": float(n) for name, n in sum_errors(results).items()}
    return metrics


def by_kind(results: Sequence[ImageResult]) -> dict[str, list[ImageResult]]:
    """Results by kind of image, sorted by its name; images without a kind are left out."""
    kinds = sorted({r.image.kind for r in results if r.image.kind})
    return {kind: [r for r in results if r.image.kind == kind] for kind in kinds}


def sum_errors(results: Sequence[ImageResult]) -> dict[str, int]:
    """The error counts of all images together."""
    return {name: sum(r.errors[name] for r in results) for name in results[0].errors}


def _by_threshold(prefix: str, values: np.ndarray) -> dict[str, float]:
    return {f"{prefix}{p}": float(v) for p, v in zip(PERCENTS, values, strict=True)}


def _by_size(results: Sequence[ImageResult]) -> dict[str, float]:
    n_true = sum(r.size_true for r in results)
    recall = 100 * sum(r.size_tp for r in results) / np.maximum(n_true, 1)[:, None]
    metrics = {}
    for name, number, row in zip(SIZE_CLASSES, n_true, recall, strict=True):
        if number:
            metrics[f"recall50-{name}"] = float(row[0])
            metrics[f"AR-{name}"] = float(row.mean())
    return metrics
