"""The rules of overlap elimination: one list of functions, which are applied in order.

A rule sees the masks of an image as :class:`Candidates`, a table of areas, scores and classes that
can be asked for the few things that need pixels. So the same list serves the masks of an image of
any size (:mod:`nucdet.postprocessing.overlap`) and masks that are known by their intersections
alone (:mod:`nucdet.evaluation.atoms`).

A new rule is a function here, a line in one of the lists, and a field of :class:`OverlapSettings`
with its line in ``from_config``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from detectron2.config import CfgNode

from nucdet.config_checks import check_value
from nucdet.errors import InputError

_NODE = "TEST.OVERLAP_ELIMINATION"


@dataclass(frozen=True)
class OverlapSettings:
    """The settings of the rules, each the config key of its name; the rules say what they do.

    Raises:
        InputError: a setting is out of the range that :mod:`nucdet.config_checks` has for its key.
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
        )


@dataclass(frozen=True, kw_only=True)
class Candidates(ABC):
    """The masks of one image that are left at some stage, N of them.

    Attributes:
        areas: (N,) int64, in pixels.
        scores: (N,) float, or None where they are not known.
        classes: (N,) int64 from 0, or None where they are not known.
        numbers: (N,) int64, ascending: the index that each mask had at the start.
        least_area: pixels that a mask must have, before and after the cut; set by a rule.
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


def drop_low_scores_of_classes(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Each class has a score that its masks must exceed (``class_score_thresholds``)."""
    if not len(settings.class_score_thresholds):
        return masks
    least = _by_class("CLASS_SCORE_THRESHOLDS", settings.class_score_thresholds, masks)
    return masks.keep(_scores(masks, "CLASS_SCORE_THRESHOLDS", "()") > least)


def drop_small_areas_of_classes(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Each class has an area that its masks must reach (``class_min_areas``)."""
    if not len(settings.class_min_areas):
        return masks
    least = _by_class("CLASS_MIN_AREAS", settings.class_min_areas, masks)
    return masks.keep(masks.areas >= least)


def drop_relatively_unsure(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """A mask's score must reach ``min_relative_score`` times the median of the image's masks.

    This holds only for masks smaller than the image's median: large nuclei that the border cuts, or
    whose kind is rare, have low scores too, but false masks are small.
    """
    if settings.min_relative_score <= 0:
        return masks
    scores = _scores(masks, "MIN_RELATIVE_SCORE", "0")
    if not len(masks):
        return masks
    sure = scores >= settings.min_relative_score * np.median(scores)
    return masks.keep(sure | (masks.areas >= np.median(masks.areas)))


def set_least_area(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """``min_area``, but at most ``min_area_limit`` times the median area of the image's masks.

    So tiny nuclei are not dropped as debris where all nuclei are tiny. A limit of 0 is none.
    """
    least = settings.min_area
    if settings.min_area_limit and len(masks):
        least = min(least, round(settings.min_area_limit * float(np.median(masks.areas))))
    return replace(masks, least_area=max(least, 1))


def drop_small(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Masks that are empty or smaller than the least area are dropped.

    The rule is applied before the cut, so that masks which would be dropped anyway take no pixel
    from others, and again after it.
    """
    return masks.keep(masks.areas >= masks.least_area)


def cut(masks: Candidates, settings: OverlapSettings) -> Candidates:
    """Each pixel that several masks claim goes to one of them, as ``priority`` says.

    ``"area"``: the largest mask, so that the largest of a clash stays whole; ``"score"``: the one
    with the highest score. ``keep_largest_piece``: see
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

    A hole that holds another mask stays, all of it.
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
        InputError: a rule needs scores or classes that are not there, or settings of a class.
    """
    for rule in rules:
        masks = rule(masks, settings)
    return masks


def _scores(masks: Candidates, key: str, off: str) -> np.ndarray:
    if masks.scores is None:
        raise InputError(f"{_NODE}.{key}: the masks have no scores; set it to {off}")
    return masks.scores


def _by_class(key: str, numbers: Sequence[float], masks: Candidates) -> np.ndarray:
    """The number for the class of each mask, (N,)."""
    if masks.classes is None:
        raise InputError(f"{_NODE}.{key}: the masks have no classes; set it to ()")
    highest = masks.classes.max(initial=-1)
    if highest >= len(numbers):
        raise InputError(
            f"{_NODE}.{key} has {len(numbers)} numbers, but there are masks of class {highest} "
            "(from 0); give one number for each class"
        )
    return np.asarray(numbers)[masks.classes]
