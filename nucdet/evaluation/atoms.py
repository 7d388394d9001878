"""Overlapping masks of an image as a table: overlap elimination and scores without pixels.

When thresholds are tuned, the masks stay the same; only the selection of those that take part
changes. So the image is divided once into atoms, sets of pixels that are covered by the same true
and the same predicted masks, and each threshold is tried by arithmetic on a few thousand atoms. The
rules are those of :mod:`nucdet.postprocessing.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nucdet.evaluation.matching import Intersections, match
from nucdet.postprocessing.rules import Candidates
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class Atoms:
    """The A atoms of an image with T true and N predicted masks.

    ``pixels`` (A,) counts the pixels of each atom. The pairs of ``true_atoms`` and ``true_masks``
    (P,) say which atoms make up which true masks; ``pred_atoms``, ascending, and ``pred_masks``
    (Q,) do so for predicted masks. ``true_areas`` (T,) and ``pred_areas`` (N,) are in pixels. All
    int64.
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
        """Divide an image into atoms.

        Empty true masks are left out; empty predicted ones have no atom. Each mask gets a random
        number. Two pixels belong to the same atom if the numbers of the masks that cover them have
        equal sums modulo 2**64; two different sets of masks have equal sums with a probability of
        2**-64.
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

        # one pixel of each atom is enough to know its masks
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
        """Give each atom to one of the predicted masks that cover it.

        Args:
            taking_part: (N,) bool; masks with False get no atom.
            rank: (N,); the highest rank wins, of equals the lower index.

        Returns:
            Intersections of the T true and all N cut predicted masks, including empty ones.
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
        """(A,) int64, the predicted mask that gets each atom, -1 for none."""
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


@dataclass(frozen=True, kw_only=True)
class AtomCandidates(Candidates):
    """The predicted masks of an image as the rules see them, without their pixels.

    Attributes:
        atoms: of the image.
        shared: the result of :meth:`Atoms.cut`; None before the cut.
    """

    atoms: Atoms
    shared: Intersections | None = None

    @classmethod
    def of_atoms(cls, atoms: Atoms, scores: np.ndarray, classes: np.ndarray) -> AtomCandidates:
        """All predicted masks of an image with their scores (N,) and classes (N,), from 0."""
        return cls(
            areas=atoms.pred_areas,
            scores=scores,
            classes=classes,
            numbers=np.arange(len(atoms.pred_areas)),
            atoms=atoms,
        )

    def keep(self, wanted: np.ndarray) -> AtomCandidates:
        return replace(self, **self.columns(wanted))

    def cut(self, rank: np.ndarray, keep_largest_piece: bool) -> AtomCandidates:
        if keep_largest_piece:
            raise ValueError("atoms know no pieces of masks; cut without keep_largest_piece")
        taking_part = np.zeros(len(self.atoms.pred_areas), dtype=bool)
        taking_part[self.numbers] = True
        ranks = np.zeros(len(taking_part), dtype=rank.dtype)
        ranks[self.numbers] = rank
        shared = self.atoms.cut(taking_part, ranks)
        return replace(self, shared=shared, areas=shared.pred_areas[self.numbers])

    def fill_holes(self) -> AtomCandidates:
        raise ValueError("atoms know no holes of masks; score without fill_holes")

    def move_outlines(self, offset: float) -> AtomCandidates:
        raise ValueError("atoms know no outlines of masks; score with an outline_offset of 0")

    def score(self) -> float:
        """The Kaggle score of the image, 0–1, for the remaining masks; only after the cut."""
        cut = self.shared
        place = np.full(len(cut.pred_areas), -1)
        place[self.numbers] = np.arange(len(self.numbers))
        pred = place[cut.pred]
        listed = pred >= 0
        left = Intersections(
            cut.true[listed], pred[listed], cut.pixels[listed], cut.true_areas, self.areas
        )
        return match(left).score


def _joined(members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The atoms of each mask as two columns: atoms and masks."""
    masks = np.repeat(np.arange(len(members)), [len(atoms) for atoms in members])
    return np.concatenate([np.zeros(0, np.int64), *members]), masks
