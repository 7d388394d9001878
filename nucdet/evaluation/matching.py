"""Intersections of two sets of masks, their one-to-one matching, and the Kaggle score of an image.

The score is that of the 2018 Data Science Bowl (https://www.kaggle.com/c/data-science-bowl-2018,
page "Evaluation"): at each threshold t of 0.50, 0.55 … 0.95 a true and a predicted mask match if
their IoU is *greater* than t, and

    precision(t) = TP(t) / (TP(t) + FP(t) + FN(t)),    score = mean of precision(t) over t.

Integers are compared, ``20·intersection > k·union`` for k = 10 … 19: in floating point, eight of
the ten thresholds of ``np.arange(0.5, 1, 0.05)`` differ from k/20, and an IoU of exactly k/20 is
common among small nuclei.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from nucdet.structures import CroppedMasks

# thresholds in twentieths: 10/20 = 0.50 … 19/20 = 0.95
TWENTIETHS = np.arange(10, 20)


@dataclass(frozen=True)
class Intersections:
    """Which true and predicted masks share pixels, and how many: K pairs, each listed once.

    ``true`` and ``pred`` (K,) index the masks, ``pixels`` (K,) is the area of the intersection,
    ``true_areas`` (T,) and ``pred_areas`` (P,) those of the masks. All int64. Pairs that share
    nothing are not listed, so memory grows with the number of pairs that do, not with T×P.
    """

    true: np.ndarray
    pred: np.ndarray
    pixels: np.ndarray
    true_areas: np.ndarray
    pred_areas: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        """Area of the union of each pair, (K,) int64."""
        return self.true_areas[self.true] + self.pred_areas[self.pred] - self.pixels

    def pairs_above(self, numerator: int, denominator: int) -> np.ndarray:
        """Which pairs have an IoU strictly greater than numerator/denominator: (K,) bool."""
        return denominator * self.pixels > numerator * self.unions

    @classmethod
    def of_label_maps(cls, true: np.ndarray, pred: np.ndarray) -> Intersections:
        """Of two label maps (H, W) of integers, 0 = background; masks in ascending label order.

        One pass over the pixels finds the runs (stretches in row-major order in which neither label
        changes); everything else works on the runs, which are about fifteen times fewer.

        Raises:
            ValueError: the maps differ in shape, or contain other than non-negative integers.

        Example:
            >>> true = np.array([[1, 1, 0, 7]])
            >>> pred = np.array([[5, 0, 0, 5]])
            >>> found = Intersections.of_label_maps(true, pred)
            >>> found.true, found.pred, found.pixels
            (array([0, 1]), array([0, 0]), array([1, 1]))
            >>> found.true_areas, found.pred_areas
            (array([2, 1]), array([2]))
        """
        if true.shape != pred.shape:
            raise ValueError(f"label maps differ in shape: {true.shape} and {pred.shape}")
        true_runs, pred_runs, lengths = _joint_runs(true, pred)
        true_runs, n_true = _consecutive(true_runs)
        pred_runs, n_pred = _consecutive(pred_runs)
        return cls._from_runs(true_runs, pred_runs, lengths, n_true, n_pred)

    @classmethod
    def of_masks(cls, true: CroppedMasks, pred: CroppedMasks) -> Intersections:
        """Of two sets of masks of the same image; masks of one set may overlap each other.

        Sets without overlap are compared as label maps, others by the product of two sparse
        masks×pixels matrices, which takes about three times as long per pixel in masks.

        Raises:
            ValueError: the sets belong to images of different sizes.
        """
        if tuple(true.image_size) != tuple(pred.image_size):
            raise ValueError(f"masks of images of {true.image_size} and {pred.image_size} pixels")
        maps = [masks.to_label_map() for masks in (true, pred)]
        areas = [np.asarray(masks.areas, np.int64) for masks in (true, pred)]
        disjoint = all(np.count_nonzero(m) == a.sum() for m, a in zip(maps, areas, strict=True))
        if disjoint:
            return cls._from_runs(*_joint_runs(*maps), len(true), len(pred))
        return cls._from_table((_pixel_matrix(true) @ _pixel_matrix(pred).T).tocsr(), *areas)

    @classmethod
    def _from_runs(
        cls, true: np.ndarray, pred: np.ndarray, lengths: np.ndarray, n_true: int, n_pred: int
    ) -> Intersections:
        """From runs of ``lengths`` pixels with labels 0 … n_true and 0 … n_pred."""
        both = np.flatnonzero((true > 0) & (pred > 0))
        indices = (true[both] - 1, pred[both] - 1)
        table = coo_array((lengths[both], indices), shape=(n_true, n_pred)).tocsr()
        # bincount adds in float64, exact below 2**53 pixels
        true_areas = np.bincount(true, lengths, n_true + 1)[1:].astype(np.int64)
        pred_areas = np.bincount(pred, lengths, n_pred + 1)[1:].astype(np.int64)
        return cls._from_table(table, true_areas, pred_areas)

    @classmethod
    def _from_table(
        cls, table: csr_array, true_areas: np.ndarray, pred_areas: np.ndarray
    ) -> Intersections:
        """From a sparse (T, P) table of shared pixels."""
        table.sum_duplicates()
        pairs = table.tocoo()
        true, pred = (index.astype(np.int64) for index in (pairs.row, pairs.col))
        return cls(true, pred, pairs.data.astype(np.int64), true_areas, pred_areas)


@dataclass(frozen=True)
class Matching:
    """Which true and predicted masks of an image match, at each of the ten thresholds.

    ``partner`` (10, T) int64 contains, for k/20 with k = 10 … 19, the index of the predicted mask
    with which each true mask is matched, -1 for none; ``n_pred`` is the number of predicted masks.

    Example:
        Two nuclei; one prediction covers the first exactly, the other 3 of 4 pixels of the second
        (IoU 3/4, which is not greater than 15/20):

        >>> true = np.array([[1, 1, 0, 2, 2, 2, 2]])
        >>> pred = np.array([[1, 1, 0, 2, 2, 2, 0]])
        >>> matching = match(Intersections.of_label_maps(true, pred))
        >>> matching.tp
        array([2, 2, 2, 2, 2, 1, 1, 1, 1, 1])
        >>> matching.score  # five times 2/(2+0+0), five times 1/(1+1+1)
        0.6666666666666666
    """

    partner: np.ndarray
    n_pred: int

    @property
    def n_true(self) -> int:
        """Number of true masks."""
        return self.partner.shape[1]

    @property
    def tp(self) -> np.ndarray:
        """Matched pairs at each threshold, (10,) int64."""
        return np.count_nonzero(self.partner >= 0, axis=1)

    @property
    def precision(self) -> np.ndarray:
        """The Kaggle precision TP / (TP + FP + FN) at each threshold, (10,) float64.

        1 if there is neither a true nor a predicted mask, 0 if only one side is empty.
        """
        if self.n_true + self.n_pred == 0:
            return np.ones(len(TWENTIETHS))
        return self.tp / (self.n_true + self.n_pred - self.tp)

    @property
    def score(self) -> float:
        """The Kaggle score of the image: mean precision over the thresholds, 0–1."""
        return float(self.precision.mean())


def match(intersections: Intersections) -> Matching:
    """Match the masks one to one, as many as possible, at each threshold.

    If no masks within a set overlap, no mask can have an IoU above 1/2 with two others, so the
    pairs themselves are the matching. Otherwise it is a maximum bipartite matching at each
    threshold.
    """
    n_true, n_pred = len(intersections.true_areas), len(intersections.pred_areas)
    near = intersections.pairs_above(TWENTIETHS[0], 20)
    true, pred = intersections.true[near], intersections.pred[near]
    above = 20 * intersections.pixels[near] > TWENTIETHS[:, None] * intersections.unions[near]

    partner = np.full((len(TWENTIETHS), n_true), -1, np.int64)
    if _all_different(true, n_true) and _all_different(pred, n_pred):
        partner[:, true] = np.where(above, pred, -1)
        return Matching(partner, n_pred)
    for row, close in zip(partner, above, strict=True):
        matched, partners = match_pairs(true[close], pred[close], n_true, n_pred)
        row[matched] = partners
    return Matching(partner, n_pred)


def match_pairs(
    true: np.ndarray, pred: np.ndarray, n_true: int, n_pred: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose as many of the pairs (true, pred) as possible so that no mask appears twice."""
    # SciPy before 1.13 searches in graphs with 32-bit indices only
    pairs = np.asarray(true, np.int32), np.asarray(pred, np.int32)
    graph = csr_array((np.ones(len(true), bool), pairs), shape=(n_true, n_pred))
    partner = maximum_bipartite_matching(graph, perm_type="column")
    matched = np.flatnonzero(partner >= 0)
    return matched, partner[matched]


def _all_different(indices: np.ndarray, size: int) -> bool:
    return bool((np.bincount(indices, minlength=size) <= 1).all())


def _joint_runs(true: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of the flattened maps in which neither label changes: labels of both, and lengths."""
    true, pred = true.ravel(), pred.ravel()
    starts = np.ones(true.size, bool)
    np.not_equal(true[1:], true[:-1], out=starts[1:])
    starts[1:] |= pred[1:] != pred[:-1]
    first = np.flatnonzero(starts)
    return true[first], pred[first], np.diff(first, append=true.size)


def _consecutive(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels renumbered to 0 (background), 1 … n in ascending order, and n.

    Raises:
        ValueError: labels are not integers, or negative.
    """
    if labels.dtype.kind not in "iu":
        raise ValueError(f"a label map holds integers, not {labels.dtype}")
    if labels.size == 0:
        return labels.astype(np.int64), 0
    if labels.min() < 0:
        raise ValueError(f"label {labels.min()} is negative; 0 is background, masks are positive")
    # a table of all labels up to the largest is faster than sorting, unless labels are huge
    if labels.max() <= 16 * labels.size:
        present = np.zeros(int(labels.max()) + 1, bool)
        present[labels] = True
        present[0] = False
        numbers = np.cumsum(present)
        return numbers[labels], int(numbers[-1])
    values, positions = np.unique(np.append(labels, labels.dtype.type(0)), return_inverse=True)
    return positions[:-1], len(values) - 1


def _pixel_matrix(masks: CroppedMasks) -> csr_array:
    """Which pixels each mask covers: sparse (N, H·W) int32, 1 for a pixel in a mask."""
    height, width = masks.image_size
    pixels = [np.zeros(0, np.int64)]
    for (y0, x0), crop in zip(masks.offsets, masks.crops, strict=True):
        inside = np.flatnonzero(crop)
        rows = inside // crop.shape[1]
        pixels.append(inside + rows * (width - crop.shape[1]) + y0 * width + x0)
    ends = np.cumsum([len(part) for part in pixels])
    columns = np.concatenate(pixels)
    ones = np.ones(len(columns), np.int32)
    return csr_array((ones, columns, ends), shape=(len(masks), height * width))
