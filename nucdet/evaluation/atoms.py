"""An image's overlapping masks as a table, on which overlap elimination and score take no pixels.

Whatever thresholds are tried, the masks stay where they are; only who takes part changes. So the
picture is cut once into atoms, the sets of pixels that the same true and the same predicted masks
cover, and the rest is arithmetic on a few thousand of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucdet.evaluation.matching import Intersections, match
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class Atoms:
    """A atoms of an image with T true and N predicted masks.

    ``pixels`` (A,) counts an atom's pixels. ``true_atoms`` and ``true_masks`` (P,) say which atoms
    make up which true masks; ``pred_atoms`` (Q,), ascending, and ``pred_masks`` the predicted ones.
    All int64.
    """

    pixels: np.ndarray
    true_atoms: np.ndarray
    true_masks: np.ndarray
    pred_atoms: np.ndarray
    pred_masks: np.ndarray
    true_areas: np.ndarray
    pred_areas: np.ndarray

    @classmethod
    def of_masks(cls, true: CroppedMasks, pred: CroppedMasks) -> Atoms:
        """Cut an image; true masks without a pixel are left out, predicted ones in no atom.

        A pixel's atom is told by the sum, modulo 2**64, of random numbers that stand for the masks
        over it; two sets of masks have the same sum with a probability of 2**-64.
        """
        true = true[true.areas > 0]
        keys = np.random.default_rng(0).integers(0, 2**64, len(true) + len(pred), np.uint64)
        sums = np.zeros(true.image_size, np.uint64)
        both = CroppedMasks.cat([true, pred])
        boxes = list(both.slices())
        for box, crop, key in zip(boxes, both.crops, keys, strict=True):
            sums[box] += crop * key
        covered = np.flatnonzero(sums)
        _, first, pixels = np.unique(sums.ravel()[covered], return_index=True, return_counts=True)

        # one pixel speaks for its atom
        numbers = np.full(true.image_size, -1, np.int64)
        numbers.ravel()[covered[first]] = np.arange(len(first))
        atoms = [numbers[box][crop] for box, crop in zip(boxes, both.crops, strict=True)]
        atoms = [members[members >= 0] for members in atoms]
        true_atoms, true_masks = _joined(atoms[: len(true)])
        pred_atoms, pred_masks = _joined(atoms[len(true) :])
        order = np.argsort(pred_atoms, kind="stable")
        return cls(
            pixels,
            true_atoms,
            true_masks,
            pred_atoms[order],
            pred_masks[order],
            true.areas,
            pred.areas,
        )

    def cut(self, taking_part: np.ndarray, rank: np.ndarray) -> Intersections:
        """What is left of the predicted masks when each atom goes to one of them.

        Args:
            taking_part: (N,) bool, the others get nothing.
            rank: (N,); the greatest wins, the lower index a tie.

        Returns:
            Of the T true and all N predicted masks, those without a pixel left included.
        """
        owners = self._owners(taking_part, rank)
        areas = np.bincount(owners + 1, self.pixels, len(rank) + 1)[1:].astype(np.int64)
        owner = owners[self.true_atoms]
        shared = owner >= 0
        pairs, inverse = np.unique(
            self.true_masks[shared] * len(rank) + owner[shared], return_inverse=True
        )
        pixels = np.bincount(inverse, self.pixels[self.true_atoms[shared]], len(pairs))
        true, pred = np.divmod(pairs, max(len(rank), 1))
        return Intersections(true, pred, pixels.astype(np.int64), self.true_areas, areas)

    def _owners(self, taking_part: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """(A,) int64, the predicted mask that each atom goes to, -1 for none."""
        count = len(rank)
        strongest_first = np.append(np.lexsort((np.arange(count), -rank)), -1)
        place = np.empty(count, np.int64)
        place[strongest_first[:-1]] = np.arange(count)
        place[~taking_part] = count
        owners = np.full(len(self.pixels), -1)
        if len(self.pred_atoms):
            starts = np.flatnonzero(np.diff(self.pred_atoms, prepend=-1))
            best = np.minimum.reduceat(place[self.pred_masks], starts)
            owners[self.pred_atoms[starts]] = strongest_first[best]
        return owners


def score_cut(cut: Intersections, min_area: int, min_relative_area: float) -> float:
    """The Kaggle score, 0–1, of an image after the cut and without the masks that are too small.

    Args:
        cut: from :meth:`Atoms.cut`.
        min_area, min_relative_area: see :func:`nucdet.postprocessing.overlap.eliminate_overlaps`.
    """
    kept = cut.pred_areas >= max(min_area, 1)
    if min_relative_area > 0 and kept.any():
        kept &= cut.pred_areas >= min_relative_area * cut.pred_areas[kept].mean()
    listed = kept[cut.pred]
    pred = (np.cumsum(kept) - 1)[cut.pred[listed]]
    left = Intersections(
        cut.true[listed], pred, cut.pixels[listed], cut.true_areas, cut.pred_areas[kept]
    )
    return match(left).score


def _joined(members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Atoms of each mask to two columns: atoms, masks."""
    masks = np.repeat(np.arange(len(members)), [len(atoms) for atoms in members])
    return np.concatenate([np.zeros(0, np.int64), *members]), masks
