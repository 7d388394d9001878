"""The rules of overlap elimination: one list of functions, which are applied in order.

A rule sees the masks of an image as :class:`Candidates`, a table of areas, scores and classes with
methods for the few operations that need pixels. The same list therefore serves the masks of an
image of any size (:mod:`nucdet.postprocessing.overlap`) and masks of which only the intersections
are known (:mod:`nucdet.evaluation.atoms`).

A new rule is a function here, a line in one of the lists, and a field of :class:`OverlapSettings`
with its line in ``from_config``; or, outside nucdet, a function decorated with
:func:`overlap_rule`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from detectron2.config import CfgNode

from nucdet.config_checks import check_value
from nucdet.errors import InputError

_NODE = "TEST.OVERLAP_ELIMINATION"


@dataclass(frozen=True)
class OverlapSettings:
    """The settings of the rules, named like their config keys; each rule explains its own.

    Attributes:
        others: the rules of :func:`overlap_rule`, each with its config.

    Raises:
        InputError: a setting is outside the range of its key in :mod:`nucdet.config_checks`.
    """

    priority: str = "area"
    min_area: int = 0
    keep_largest_piece: bool = False
    fill_holes: bool = False
    min_relative_area: float = 0.0
    min_area_limit: float = 0.0
    min_relative_score: float = 0.0
    class_score_thresholds: Sequence[float] = ()
    class_min_areas: Sequence[int] = ()
    outline_offset: float = 0.0
    others: Sequence[Callable[[Candidates], Candidates]] = ()

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            node = "TEST" if name == "outline_offset" else _NODE
            check_value(f"{node}.{name.upper()}", value)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> OverlapSettings:
        """The settings in TEST.OVERLAP_ELIMINATION and TEST.OUTLINE_OFFSET."""
        node = cfg.TEST.OVERLAP_ELIMINATION
        return cls(
            priority=node.PRIORITY,
            min_area=node.MIN_AREA,
            keep_largest_piece=node.KEEP_LARGEST_PIECE,
            fill_holes=node.FILL_HOLES,
            min_relative_area=node.MIN_RELATIVE_AREA,
            min_area_limit=node.MIN_AREA_LIMIT,
            min_relative_score=node.MIN_RELATIVE_SCORE,
            class_score_thresholds=node.CLASS_SCORE_THRESHOLDS,
            class_min_areas=node.CLASS_MIN_AREAS,
            outline_offset=cfg.TEST.OUTLINE_OFFSET,
            others=tuple(partial(rule, cfg=cfg) for rule in _OTHERS),
        )


@dataclass(frozen=True, kw_only=True)
class Candidates(ABC):
    """The N masks of one image that remain after some of the rules.

    Attributes:
        areas: (N,) int64, in pixels.
        scores: (N,) float, or None where they are not known.
        classes: (N,) int64 from 0, or None where they are not known.
        numbers: (N,) int64, ascending: the index that each mask had at the start.
        least_area: smallest area in pixels, before and after the cut; set by a rule.
    """

    areas: np.ndarray
    scores: np.ndarray | None
    classes: np.ndarray | None
    numbers: np.ndarray
    least_area: int = 1

    def __len__(self) -> int:
        return len(self.numbers)

    def columns(self, wanted: np.ndarray) -> dict[str, Any]:
        """The rows of the table for which ``wanted`` (N,) is True, for :func:`replace`."""
        return {
            "areas": self.areas[wanted],
            "scores": None if self.scores is None else self.scores[wanted],
            "classes": None if self.classes is None else self.classes[wanted],
            "numbers": self.numbers[wanted],
        }

    @abstractmethod
    def keep(self, wanted: np.ndarray) -> Self:
        """Those for which ``wanted`` (N,) is True; the others become background."""

    @abstractmethod
    def cut(self, rank: np.ndarray, keep_largest_piece: bool) -> Self:
        """All N after :func:`nucdet.postprocessing.cutting.cut_overlaps`; some may be empty."""

    @abstractmethod
    def fill_holes(self) -> Self:
        """All N after :func:`nucdet.postprocessing.cutting.fill_holes`."""

    @abstractmethod
    def move_outlines(self, offset: float) -> Self:
        """All N after :func:`nucdet.postprocessing.outline_offset.offset_outlines`."""


Rule = Callable[[Candidates, OverlapSettings], Candidates]

_OTHERS: list[Callable[..., Any]] = []


def overlap_rule(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: applies a function from outside nucdet as one more rule, before the cut.

    Example::

        @overlap_rule
        def drop_flat(masks: MaskCandidates, cfg: CfgNode) -> MaskCandidates:
            _, y0, _, y1 = masks.masks.boxes.T
            return masks.keep(y1 - y0 >= cfg.TEST.OVERLAP_ELIMINATION.MIN_HEIGHT)

    It gets :class:`nucdet.postprocessing.overlap.MaskCandidates` and the config, wherever overlaps
    are eliminated as a config says; ``nucdet-tune`` tries its values without it.
    """
    _OTHERS.append(rule)
    return rule


def drop_low_scores_of_classes(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """The masks of each class must exceed its score threshold (``class_score_thresholds``)."""
    if not len(settings.class_score_thresholds):
        return masks
    least = _by_class("CLASS_SCORE_THRESHOLDS", settings.class_score_thresholds, masks)
    return masks.keep(_scores(masks, "CLASS_SCORE_THRESHOLDS", "()") > least)


def drop_small_areas_of_classes(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """The masks of each class must have at least its minimum area (``class_min_areas``)."""
    if not len(settings.class_min_areas):
        return masks
    least = _by_class("CLASS_MIN_AREAS", settings.class_min_areas, masks)
    return masks.keep(masks.areas >= least)


def drop_relatively_unsure(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """A mask's score must reach ``min_relative_score`` times the median score of the image.

    This applies only to masks smaller than the median area of the image: large nuclei that the
    border cuts, or of a rare kind, have low scores too, but false masks are small.
    """
    if settings.min_relative_score <= 0:
        return masks
    scores = _scores(masks, "MIN_RELATIVE_SCORE", "0")
    if not len(masks):
        return masks
    sure = scores >= settings.min_relative_score * np.median(scores)
    return masks.keep(sure | (masks.areas >= np.median(masks.areas)))


def apply_others(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """The rules of :func:`overlap_rule`, in the order of their registration."""
    for rule in settings.others:
        masks = rule(masks)
    return masks


def set_least_area(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """``min_area``, but at most ``min_area_limit`` times the median area of the image's masks.

    Thus tiny nuclei are not dropped as debris if all nuclei are tiny. A limit of 0 means no limit.
    """
    least = settings.min_area
    if settings.min_area_limit and len(masks):
        least = min(least, round(settings.min_area_limit * float(np.median(masks.areas))))
    return replace(masks, least_area=max(least, 1))


def drop_small(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Drop masks that are empty or smaller than the least area.

    Applied before the cut, so that masks which are dropped anyway take no pixels from others, and
    again after it.
    """
    return masks.keep(masks.areas >= masks.least_area)


def cut(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Give each pixel that several masks cover to one of them, according to ``priority``.

    ``"area"``: to the largest, so that the largest of several overlapping masks stays whole;
    ``"score"``: to the one with the highest score. For ``keep_largest_piece`` see
    :func:`nucdet.postprocessing.cutting.cut_overlaps`.
    """
    rank = masks.areas
    if settings.priority == "score":
        rank = _scores(masks, "PRIORITY score", "'area'")
    return masks.cut(rank, settings.keep_largest_piece)


def drop_relatively_small(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """A mask must reach ``min_relative_area`` times the mean area of the masks that are left."""
    if settings.min_relative_area <= 0 or not len(masks):
        return masks
    return masks.keep(masks.areas >= settings.min_relative_area * masks.areas.mean())


def fill_holes(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """``fill_holes``: background that one mask encloses becomes part of it.

    A hole that contains another mask is not filled at all.
    """
    return masks.fill_holes() if settings.fill_holes else masks


def move_outlines(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Outlines move outwards into free background, or inwards, by ``outline_offset`` pixels."""
    return masks.move_outlines(settings.outline_offset) if settings.outline_offset else masks


# which masks take part, and which of them get the pixels
SHARING: tuple[Rule, ...] = (
    drop_low_scores_of_classes,
    drop_small_areas_of_classes,
    drop_relatively_unsure,
    apply_others,
    set_least_area,
    drop_small,
    cut,
)
# what is done with the masks that are left
FINISHING: tuple[Rule, ...] = (drop_small, drop_relatively_small, fill_holes, move_outlines)
RULES = (*SHARING, *FINISHING)


def apply_rules(
    masks: Candidates, settings: OverlapSettings, rules: Sequence[Rule] = RULES
) -> Candidates:
    """Apply the rules in order.

    Raises:
        InputError: a rule needs scores, classes or the settings of a class, and they are missing.
    """
    for rule in rules:
        masks = rule(masks, settings)
    return masks


def _scores(masks: Candidates, key: str, off: str) -> np.ndarray:
    if masks.scores is None:
        raise InputError(f"{_NODE}.{key}: the masks have no scores; set it to {off}")
    return masks.scores


def _by_class(key: str, numbers: Sequence[float], masks: Candidates) -> np.ndarray:
    """(N,): for each mask, the number of its class."""
    if masks.classes is None:
        raise InputError(f"{_NODE}.{key}: the masks have no classes; set it to ()")
    highest = masks.classes.max(initial=-1)
    if highest >= len(numbers):
        raise InputError(
            f"{_NODE}.{key} has {len(numbers)} numbers, but there are masks of class {highest} "
            "(from 0); give one number for each class"
        )
    return np.asarray(numbers)[masks.classes]
