"""Fair splits: every kind of picture on each side in proportion, no group on two sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def assign_parts(
    kinds: Sequence[str], groups: Sequence[int], weights: Sequence[float], seed: int
) -> np.ndarray:
    """Deal pictures into parts of the given relative sizes.

    Groups are dealt whole, kind by kind (that of most of its pictures), the large ones first and in
    random order among equals; each goes to the part that is furthest below its share of the kind,
    at a tie to the one furthest below its share of everything dealt so far.

    Args:
        kinds: kind of each of the N pictures.
        groups: group of each picture; equal numbers stay together.
        weights: relative size of each part, e.g. ``(0.9, 0.1)`` for train and val.
        seed: of the random order.

    Returns:
        (N,) int, the part of each picture.
    """
    weights = np.asarray(weights, dtype=float) / sum(weights)
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    by_kind: dict[str, list[list[int]]] = defaultdict(list)
    for group in members.values():
        counts = Counter(kinds[i] for i in group)
        by_kind[min(counts, key=lambda kind: (-counts[kind], kind))].append(group)

    random = np.random.default_rng(seed)
    part_of = np.zeros(len(kinds), dtype=int)
    lacking_overall = np.zeros(len(weights))
    for kind in sorted(by_kind):
        dealt = by_kind[kind]
        dealt = [dealt[i] for i in random.permutation(len(dealt))]
        dealt.sort(key=len, reverse=True)
        pictures = sum(map(len, dealt)) * weights
        lacking = pictures.copy()
        lacking_overall += pictures
        for group in dealt:
            # rounded, so that what only floating point parts counts as a tie
            part = np.lexsort((-lacking_overall.round(6), -lacking.round(6)))[0]
            part_of[group] = part
            lacking[part] -= len(group)
            lacking_overall[part] -= len(group)
    return part_of
