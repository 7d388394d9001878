"""Chooses score thresholds, minimum areas and the overlap rule by the Kaggle score of cached masks.

Scores on the images used for tuning are optimistic: report scores on other images.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter

import numpy as np

from nucdet.config_checks import check_value
from nucdet.errors import InputError
from nucdet.evaluation.atoms import AtomCandidates, Atoms
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.predictions_io import Prediction, read_predictions
from nucdet.postprocessing.rules import FINISHING, SHARING, OverlapSettings, apply_rules
from nucdet.progress import ProgressBar

_Path = str | os.PathLike[str]

# rounds over the classes, in which each is tuned in turn; two are nearly always enough
_MAX_ROUNDS = 3
# all settings except the one that acts only after overlaps are cut
_up_to_the_cut = attrgetter(
    *(field.name for field in fields(OverlapSettings) if field.name != "min_relative_area")
)


@dataclass(frozen=True)
class Grid:
    """Values to try, in all combinations.

    Raises:
        InputError: a value is out of the range of its config key.
    """

    score_thresholds: Sequence[float] = tuple(round(0.05 * k, 2) for k in range(20))
    min_areas: Sequence[int] = (0, 10, 20, 30, 50, 100)
    min_relative_areas: Sequence[float] = (0.0, 0.1, 0.2, 0.3)
    priorities: Sequence[str] = ("area", "score")
    min_relative_scores: Sequence[float] = (0.0, 0.85, 0.9)

    def __post_init__(self) -> None:
        node = "TEST.OVERLAP_ELIMINATION"
        check_value(f"{node}.CLASS_SCORE_THRESHOLDS", self.score_thresholds)
        check_value(f"{node}.CLASS_MIN_AREAS", self.min_areas)
        for name in ("min_relative_area", "min_relative_score"):
            for value in getattr(self, f"{name}s"):
                check_value(f"{node}.{name.upper()}", value)


@dataclass(frozen=True)
class Point:
    """One combination of values and its ``score``, the Kaggle mAP in 0–100.

    ``score_thresholds`` and ``min_areas`` contain one value for all classes or one for each class.
    A single ``min_areas`` applies before and after overlaps are cut (MIN_AREA), several only before
    (CLASS_MIN_AREAS). ``mask_threshold`` is that of the file of predictions, None if unknown.
    ``varied`` is the class whose values were varied, "all" for all at once.
    """

    score_thresholds: tuple[float, ...]
    min_areas: tuple[int, ...]
    min_relative_area: float
    min_relative_score: float
    priority: str
    mask_threshold: float | None = None
    varied: str = "all"
    score: float = 0.0

    def settings(self, class_count: int) -> OverlapSettings:
        """The settings of overlap elimination at this point."""
        common = len(self.min_areas) == 1
        shared = class_count if len(self.score_thresholds) == 1 else 1
        return OverlapSettings(
            priority=self.priority,
            min_area=self.min_areas[0] if common else 0,
            min_relative_area=self.min_relative_area,
            min_relative_score=self.min_relative_score,
            class_score_thresholds=self.score_thresholds * shared,
            class_min_areas=() if common else self.min_areas,
        )


class CachedPredictions:
    """The predictions of one file for all images, prepared for fast repeated scoring."""

    def __init__(self, truth: GroundTruth, predictions: _Path) -> None:
        """
        Args:
            truth: ground truth with at least one image.
            predictions: see :func:`nucdet.evaluation.predictions_io.read_predictions`.

        Raises:
            FileNotFoundError, InputError: the predictions cannot be read or do not fit the ground
                truth.
        """
        self.class_names = [truth.categories[i] for i in sorted(truth.categories)] or ["nucleus"]
        self._images: list[_Image] = []
        self.has_scores = True
        read = read_predictions(predictions, truth)
        for prediction in ProgressBar(read, "reading", len(truth.images)):
            self.has_scores &= prediction.scores is not None
            atoms = Atoms.of_masks(truth.masks(prediction.image.image_id), prediction.masks)
            classes = _classes(prediction, truth, predictions)
            scores = prediction.scores if self.has_scores else np.ones(len(classes))
            self._images.append(_Image(atoms, scores, classes))

    @property
    def overlap(self) -> bool:
        """Whether any two predicted masks share a pixel."""
        return any((np.diff(i.atoms.pred_atoms) == 0).any() for i in self._images)

    @property
    def lowest_score(self) -> float:
        """The lowest score of all masks, inf if there are none."""
        return min(float(i.scores.min(initial=np.inf)) for i in self._images)

    def score_grid(self, grid: Grid) -> list[Point]:
        """Score all combinations of the grid, with the same values for all classes."""
        points = [
            Point((threshold,), (area,), share, sure, priority)
            for priority, threshold, sure, area, share in itertools.product(
                grid.priorities,
                grid.score_thresholds,
                grid.min_relative_scores,
                grid.min_areas,
                grid.min_relative_areas,
            )
        ]
        settings = [point.settings(len(self.class_names)) for point in points]
        bar = ProgressBar(self._images, "grid")
        table = np.stack([_score_all(image, settings) for image in bar])
        scores = 100 * table.mean(axis=0)
        return [
            replace(point, score=float(score)) for point, score in zip(points, scores, strict=True)
        ]

    def score_classes(self, grid: Grid, start: Point) -> list[Point]:
        """Starting from ``start``, tune one class after another until none improves the score.

        Returns:
            All points that were tried; the best one need not be the last.
        """
        count = len(self.class_names)
        best = replace(
            start,
            score_thresholds=start.score_thresholds * count,
            min_areas=start.min_areas * count,
        )
        scores = np.array([self._score(i, best) for i in self._images])
        best = replace(best, score=100 * float(scores.mean()))
        tried = [best]
        for _ in range(_MAX_ROUNDS):
            before = best
            for number, name in enumerate(self.class_names):
                concerned = [k for k, i in enumerate(self._images) if (i.classes == number).any()]
                for point in _varied(grid, replace(best, varied=name), number):
                    new = scores.copy()
                    new[concerned] = [self._score(self._images[k], point) for k in concerned]
                    tried.append(replace(point, score=100 * float(new.mean())))
                best = max([best, *tried], key=lambda p: p.score)
                scores = np.array([self._score(i, best) for i in self._images])
            if best.score <= before.score:
                break
        return tried

    def _score(self, image: _Image, point: Point) -> float:
        return float(_score_all(image, [point.settings(len(self.class_names))])[0])


@dataclass(frozen=True)
class _Image:
    """The masks of an image as atoms, with their scores (N,) and classes (N,), from 0."""

    atoms: Atoms
    scores: np.ndarray
    classes: np.ndarray


def _classes(prediction: Prediction, truth: GroundTruth, path: _Path) -> np.ndarray:
    try:
        return prediction.classes(truth)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _score_all(image: _Image, settings: Sequence[OverlapSettings]) -> np.ndarray:
    """Scores of one image, 0–1, with each of the settings.

    Overlaps are cut only once for consecutive settings that cut them in the same way.
    """
    masks = AtomCandidates.of_atoms(image.atoms, image.scores, image.classes)
    scores = []
    for _, group in itertools.groupby(settings, _up_to_the_cut):
        same_cut = list(group)
        cut = apply_rules(masks, same_cut[0], SHARING)
        scores += [apply_rules(cut, one, FINISHING).score() for one in same_cut]
    return np.array(scores)


def _varied(grid: Grid, point: Point, number: int) -> Iterator[Point]:
    """The point, with each combination of the grid's thresholds and areas for one class."""
    for threshold, area in itertools.product(grid.score_thresholds, grid.min_areas):
        thresholds, areas = list(point.score_thresholds), list(point.min_areas)
        thresholds[number], areas[number] = threshold, area
        yield replace(point, score_thresholds=tuple(thresholds), min_areas=tuple(areas))
