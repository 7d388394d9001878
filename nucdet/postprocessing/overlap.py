"""Overlap elimination: every pixel belongs to one nucleus at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Boxes, Instances
from scipy import ndimage

from nucdet.errors import InputError
from nucdet.postprocessing.outline_offset import offset_outlines
from nucdet.structures import CroppedMasks

PRIORITIES = ("area", "score")


def eliminate_overlaps(
    masks: CroppedMasks,
    scores: np.ndarray | None = None,
    priority: str = "area",
    min_area: int = 0,
    keep_largest_piece: bool = False,
    fill_holes: bool = False,
    min_relative_area: float = 0.0,
) -> tuple[CroppedMasks, np.ndarray]:
    """Give each pixel that several masks cover to one of them; the result fits one label map.

    In this order:

    1. Masks that are empty or smaller than ``min_area`` take no part: what would be dropped anyway
       takes no pixel from another.
    2. Each pixel goes to the largest mask that covers it (``"area"``; the area before the cut), so
       the largest of a clash stays whole, or to the one with the highest score (``"score"``). The
       lower index wins a tie.
    3. ``keep_largest_piece``: of a mask that lost pixels only the largest 8-connected piece stays
       (of equals, the first in reading order). Masks that lost nothing stay as they are, in however
       many pieces.
    4. Masks that now are empty or smaller than ``min_area`` are dropped, and after them those
       smaller than ``min_relative_area`` times the mean area of the rest.
    5. ``fill_holes``: background enclosed by one mask (4-connected, not at the image border)
       becomes part of it. A hole that holds another mask stays, all of it.

    What is dropped becomes background. Applied to its own result it changes nothing, except with
    ``min_relative_area``: dropping the smallest raises the mean.

    Args:
        masks: N masks of one image.
        scores: (N,) float, needed for ``"score"``.
        priority: ``"area"`` or ``"score"``.
        min_area: pixels.
        keep_largest_piece: see 3.
        fill_holes: see 5.
        min_relative_area: share of the image's mean mask area, 0 to drop none.

    Returns:
        The K masks that are left and (K,) int64, ascending: the index each had in ``masks``.

    Raises:
        InputError: an unknown ``priority``, or ``"score"`` without scores.

    Example:
        The larger of two that clash stays whole, the speck is dropped::

            >>> dense = np.zeros((3, 1, 9), dtype=bool)
            >>> dense[0, 0, :4] = dense[1, 0, 3:8] = dense[2, 0, 8:] = True
            >>> left, kept = eliminate_overlaps(CroppedMasks.from_dense(dense), min_area=2)
            >>> left.areas.tolist(), kept.tolist()
            ([3, 5], [0, 1])
    """
    _check_priority(priority)
    areas = masks.areas
    if priority == "score":
        if scores is None:
            raise InputError("overlap elimination by score: the masks have no scores; use 'area'")
        rank = np.asarray(scores)
    else:
        rank = areas
    if len(rank) != len(masks):
        raise ValueError(f"{len(rank)} scores for {len(masks)} masks")

    kept = np.flatnonzero(areas >= max(min_area, 1))
    weakest_first = kept[np.lexsort((-kept, rank[kept]))]
    left = _cut(masks, kept, masks.paint(weakest_first), keep_largest_piece)

    large = left.areas >= max(min_area, 1)
    left, kept = left[large], kept[large]
    if min_relative_area > 0 and len(left):
        large = left.areas >= min_relative_area * left.areas.mean()
        left, kept = left[large], kept[large]
    return (_fill_holes(left) if fill_holes else left), kept


def relatively_sure(scores: np.ndarray, share: float) -> np.ndarray:
    """Which of a picture's scores, (N,), reach ``share`` times their median: (N,) bool."""
    return scores >= share * np.median(scores) if len(scores) else np.ones(0, dtype=bool)


def _check_priority(priority: str) -> None:
    if priority not in PRIORITIES:
        raise InputError(
            f"TEST.OVERLAP_ELIMINATION.PRIORITY is {priority!r}; expected 'area' or 'score'"
        )


def _cut(
    masks: CroppedMasks, kept: np.ndarray, owner: np.ndarray, keep_largest_piece: bool
) -> CroppedMasks:
    """What the label map ``owner`` (label i + 1 for mask i) leaves of the masks ``kept``."""
    windows = []
    for i, box in zip(kept.tolist(), masks[kept].slices(), strict=True):
        window = owner[box] == i + 1
        if keep_largest_piece and not np.array_equal(window, masks.crops[i]):
            window = _largest_piece(window)
        windows.append(window)
    return CroppedMasks.from_windows(masks.offsets[kept], windows, masks.image_size)


def _largest_piece(window: np.ndarray) -> np.ndarray:
    # not OpenCV's labels: theirs are not in reading order, which decides between equals
    pieces, count = ndimage.label(window, structure=np.ones((3, 3)))
    if count <= 1:
        return window
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def _fill_holes(masks: CroppedMasks) -> CroppedMasks:
    """Fill background that only one mask borders on. The masks must not overlap."""
    labels = masks.to_label_map()
    count, parts = cv2.connectedComponents((labels == 0).view(np.uint8), connectivity=4)
    # a background part is a mask's hole if the lowest and the highest label beside it are the same
    lowest = np.full(count, np.iinfo(labels.dtype).max, dtype=labels.dtype)
    highest = np.zeros(count, dtype=labels.dtype)
    before, after = np.s_[:-1], np.s_[1:]
    for here, there in ((before, after), (after, before)):
        for a, b in ((np.s_[here], np.s_[there]), (np.s_[:, here], np.s_[:, there])):
            beside = np.nonzero((parts[a] > 0) & (labels[b] > 0))
            np.minimum.at(lowest, parts[a][beside], labels[b][beside])
            np.maximum.at(highest, parts[a][beside], labels[b][beside])
    open_parts = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    highest[open_parts] = 0
    enclosed = lowest == highest
    if not enclosed.any():
        return masks

    filled = np.nonzero(enclosed[parts])
    labels[filled] = highest[parts[filled]]
    crops = list(masks.crops)
    boxes = list(masks.slices())
    for i in (np.unique(labels[filled]) - 1).tolist():
        crops[i] = labels[boxes[i]] == i + 1
    return CroppedMasks(masks.offsets, crops, masks.image_size)


class OverlapElimination:
    """:func:`eliminate_overlaps` on Detectron2's predictions, set by ``TEST.OVERLAP_ELIMINATION``,
    and then :func:`offset_outlines`, set by ``TEST.OUTLINE_OFFSET``.

    Evaluators, the submission writer and the predictor all take their masks from here. Before the
    elimination, each class may have a score and an area of its own that its masks must reach.
    """

    @configurable
    def __init__(
        self,
        *,
        enabled: bool,
        priority: str,
        min_area: int,
        keep_largest_piece: bool,
        fill_holes: bool,
        min_relative_area: float,
        min_area_limit: float = 0.0,
        min_relative_score: float = 0.0,
        class_score_thresholds: Sequence[float] = (),
        class_min_areas: Sequence[int] = (),
        outline_offset: float = 0.0,
    ):
        """
        Args:
            enabled: if False, masks only become :class:`CroppedMasks`.
            priority, min_area, keep_largest_piece, fill_holes, min_relative_area: see
                :func:`eliminate_overlaps`.
            min_area_limit: see :meth:`settings_for`.
            min_relative_score, class_score_thresholds, class_min_areas: see :meth:`select`.
            outline_offset: pixels, see :func:`offset_outlines`.

        Raises:
            InputError: an unknown priority, an outline offset that is no finite number.
        """
        _check_priority(priority)
        if not np.isfinite(outline_offset):
            raise InputError(
                f"TEST.OUTLINE_OFFSET is {outline_offset}; expected a number of pixels, 0 for none"
            )
        self.enabled = enabled
        self.outline_offset = outline_offset
        self.min_area_limit = min_area_limit
        self.min_relative_score = min_relative_score
        self.class_score_thresholds = np.array(class_score_thresholds, np.float64)
        self.class_min_areas = np.array(class_min_areas, np.int64)
        self.settings = {
            "priority": priority,
            "min_area": min_area,
            "keep_largest_piece": keep_largest_piece,
            "fill_holes": fill_holes,
            "min_relative_area": min_relative_area,
        }

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.TEST.OVERLAP_ELIMINATION
        return {
            "enabled": node.ENABLED,
            "priority": node.PRIORITY,
            "min_area": node.MIN_AREA,
            "keep_largest_piece": node.KEEP_LARGEST_PIECE,
            "fill_holes": node.FILL_HOLES,
            "min_relative_area": node.MIN_RELATIVE_AREA,
            "min_area_limit": node.MIN_AREA_LIMIT,
            "min_relative_score": node.MIN_RELATIVE_SCORE,
            "class_score_thresholds": node.CLASS_SCORE_THRESHOLDS,
            "class_min_areas": node.CLASS_MIN_AREAS,
            "outline_offset": cfg.TEST.OUTLINE_OFFSET,
        }

    def select(self, instances: Instances) -> Instances:
        """Those whose score is above, and whose area not below, the number for their class; and of
        these, those whose score is at least ``min_relative_score`` times their median.

        Args:
            instances: all of one picture, on the CPU, ``pred_masks`` as CroppedMasks; with
                ``pred_classes`` for the numbers of classes, ``scores`` for all rules about them.

        Raises:
            InputError: a class has no number, or there are no scores.
        """
        wanted = np.ones(len(instances), dtype=bool)
        if len(self.class_score_thresholds):
            least = self._by_class("SCORE_THRESHOLDS", self.class_score_thresholds, instances)
            wanted &= instances.scores.numpy() > least
        if len(self.class_min_areas):
            least = self._by_class("MIN_AREAS", self.class_min_areas, instances)
            wanted &= instances.pred_masks.areas >= least
        if self.min_relative_score > 0:
            if not instances.has("scores"):
                raise InputError(
                    "TEST.OVERLAP_ELIMINATION.MIN_RELATIVE_SCORE: the masks have no scores; set it "
                    "to 0"
                )
            scores = instances.scores.numpy()
            wanted[wanted] = relatively_sure(scores[wanted], self.min_relative_score)
        return instances if wanted.all() else instances[torch.from_numpy(wanted)]

    def settings_for(self, masks: CroppedMasks) -> dict[str, Any]:
        """Arguments of :func:`eliminate_overlaps` for all selected masks of one picture.

        With ``min_area_limit`` the least area is at most that share of their median area.
        """
        if not self.min_area_limit or not len(masks):
            return dict(self.settings)
        most = round(self.min_area_limit * float(np.median(masks.areas)))
        return self.settings | {"min_area": min(self.settings["min_area"], most)}

    @staticmethod
    def _by_class(key: str, numbers: np.ndarray, instances: Instances) -> np.ndarray:
        classes = instances.pred_classes.numpy()
        if classes.max(initial=-1) >= len(numbers):
            raise InputError(
                f"TEST.OVERLAP_ELIMINATION.CLASS_{key} has {len(numbers)} numbers, but there are "
                f"masks of class {classes.max()} (from 0); give one number for each class"
            )
        return numbers[classes]

    def __call__(self, instances: Instances) -> Instances:
        """Resolve the overlaps of one image's predictions, then move their outlines.

        Args:
            instances: ``pred_masks`` (CroppedMasks or dense N x H x W, any device), ``scores`` if
                the priority needs them, any other fields.

        Returns:
            New Instances on the CPU, ``pred_masks`` as CroppedMasks. If enabled: those that are
            left, in the same order, ``pred_boxes`` tight around the new masks, other fields kept.

        Raises:
            InputError: no ``pred_masks``, or no ``scores`` where the priority needs them.
        """
        if not instances.has("pred_masks"):
            raise InputError("the predictions have no pred_masks; set MODEL.MASK_ON to True")
        result = Instances(instances.image_size)
        for name, value in instances.get_fields().items():
            if name == "pred_masks":
                value = CroppedMasks.from_any(value)
            result.set(name, value.to("cpu") if hasattr(value, "to") else value)
        if not self.enabled:
            return result
        result = self.select(result)
        scores = result.scores.numpy() if result.has("scores") else None
        settings = self.settings_for(result.pred_masks)
        masks, kept = eliminate_overlaps(result.pred_masks, scores, **settings)
        return self.finish(result, masks, kept)

    def finish(self, instances: Instances, masks: CroppedMasks, kept: np.ndarray) -> Instances:
        """The instances that are left, with the masks that are left of them, outlines moved.

        Args:
            instances: those that took part.
            masks, kept: as from :func:`eliminate_overlaps`.
        """
        result = instances[torch.from_numpy(kept)]
        result.pred_masks = offset_outlines(masks, self.outline_offset)
        result.pred_boxes = Boxes(torch.from_numpy(result.pred_masks.boxes))
        return result
