"""Stratified splits: every trait of the images in proportion, and no group in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from nucdet.data.dataset_info import splits_of_fold
from nucdet.errors import InputError

_Image = TypeVar("_Image")


def check_split(val_fraction: float, seed: int, val_may_be_empty: bool = False) -> None:
    """Check the options of a split into train and val.

    Args:
        val_fraction: share of the images that becomes val.
        seed: of the split.
        val_may_be_empty: whether a fraction of 0 is allowed.

    Raises:
        InputError: a number is out of range.
    """
    if not 0 < val_fraction < 1 and not (val_may_be_empty and val_fraction == 0):
        least = "0 or more" if val_may_be_empty else "more than 0"
        raise InputError(f"--val-fraction {val_fraction}: expected {least} and less than 1")
    if seed < 0:
        raise InputError(f"--seed {seed}: expected 0 or more")


def check_filled(splits: Mapping[str, Sequence[Any]], groups: int, remedy: str) -> None:
    """Check that no split is empty, on which a training or an evaluation would fail later.

    Args:
        splits: the images of each.
        groups: number of images, or of groups that stay together, that were divided.
        remedy: what the user can do.

    Raises:
        InputError: a split is empty.
    """
    for split, images in splits.items():
        if not images:
            raise InputError(
                f"no image is left for the split {split} ({groups} images or groups of them "
                f"that stay together); {remedy}"
            )


def train_and_val(
    images: Sequence[_Image],
    kinds: Sequence[Hashable],
    groups: Sequence[int],
    val_fraction: float,
    seed: int,
    traits: Sequence[tuple[Hashable, ...]] | None = None,
) -> dict[str, list[_Image]]:
    """Divide images into train and val by :func:`assign_parts`, keeping their order."""
    part = assign_parts(kinds, groups, (1 - val_fraction, val_fraction), seed, traits)
    return {
        split: [image for image, side in zip(images, part, strict=True) if side == number]
        for number, split in enumerate(("train", "val"))
    }


def check_folds(folds: int) -> None:
    """Check a number of folds.

    Raises:
        InputError: it is neither 0 nor at least 2.
    """
    if folds < 0 or folds == 1:
        raise InputError(f"--folds {folds}: expected 2 or more, or 0 for none")


def divide_into_folds(
    images: Sequence[_Image],
    kinds: Sequence[Hashable],
    groups: Sequence[int],
    folds: int,
    seed: int,
    traits: Sequence[tuple[Hashable, ...]] | None = None,
) -> dict[str, list[_Image]]:
    """``fold<k>_val`` and, with all other images, ``fold<k>_train`` for each of the folds, into
    which :func:`assign_parts` divides the images; 0 folds: no splits.

    Raises:
        InputError: a fold would have no images.
    """
    if not folds:
        return {}
    fold_of = assign_parts(kinds, groups, [1] * folds, seed, traits)
    splits = {}
    for fold in range(folds):
        train, val = splits_of_fold(fold)
        splits[train] = [image for image, k in zip(images, fold_of, strict=True) if k != fold]
        splits[val] = [image for image, k in zip(images, fold_of, strict=True) if k == fold]
    check_filled(splits, len(set(groups)), "choose fewer --folds")
    return splits


def assign_parts(
    kinds: Sequence[Hashable],
    groups: Sequence[int],
    weights: Sequence[float],
    seed: int,
    traits: Sequence[tuple[Hashable, ...]] | None = None,
) -> np.ndarray:
    """Divide images into parts of the given relative sizes, group by group.

    Groups are never divided. They are assigned in order of decreasing size, at random among equals.
    Each goes to the part in which it most reduces Pearson's chi-square between the images assigned
    so far and the part's fair share: Σ (assigned − w·N)² / (w·N), summed over the counts of all
    images, of each kind, and, within each kind, of each trait in ``traits`` and of images with
    company (in a group of more than one). A deficit is thus relative to what the part should get.
    With absolute deficits every large group would go to the largest part, which left a validation
    set of DSB2018 without any mosaic. This is iterative stratification (Sechidis et al., ECML PKDD
    2011) with groups and a different gain.

    Args:
        kinds: kind of each of the N images.
        groups: group of each image; equal numbers stay together.
        weights: relative size of each part, e.g. ``(0.9, 0.1)`` for train and val, all above 0.
        seed: of the random order.
        traits: further traits of each image, the same number for all, e.g. ``((height, width),)``.

    Returns:
        (N,) int, the index of each image's part.
    """
    weights = np.asarray(weights, dtype=float) / sum(weights)
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    labels = _labels(kinds, [len(members[g]) > 1 for g in groups], traits)
    fair = np.bincount(labels.ravel())[:, None] * weights

    random = np.random.default_rng(seed)
    dealt = list(members.values())
    dealt = [dealt[i] for i in random.permutation(len(dealt))]
    dealt.sort(key=len, reverse=True)
    part_of = np.zeros(len(labels), dtype=int)
    counts = np.zeros_like(fair)
    for group in dealt:
        added = np.bincount(labels[group].ravel(), minlength=len(fair))[:, None]
        used = np.flatnonzero(added)
        change = added[used] * (2 * (counts[used] - fair[used]) + added[used]) / fair[used]
        # rounded, so that differences by floating-point error are ties, which the first part wins
        part = int(np.argmin(change.sum(axis=0).round(6)))
        part_of[group] = part
        counts[:, part] += added[:, 0]
    return part_of


def _labels(
    kinds: Sequence[Hashable],
    has_company: Sequence[bool],
    traits: Sequence[tuple[Hashable, ...]] | None,
) -> np.ndarray:
    """(N, T) int: for each image, the indices of the counts to which it adds (see above)."""
    rows = []
    for index, (kind, company) in enumerate(zip(kinds, has_company, strict=True)):
        own = traits[index] if traits is not None else ()
        within = [(kind, number, value) for number, value in enumerate((company, *own))]
        rows.append(["all", (kind,), *within])
    numbers: dict[Hashable, int] = {}
    return np.array(
        [[numbers.setdefault(label, len(numbers)) for label in row] for row in rows], dtype=int
    ).reshape(len(rows), -1)
