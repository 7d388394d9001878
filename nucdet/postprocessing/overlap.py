"""Overlap elimination: every pixel belongs to at most one nucleus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Boxes, Instances

from nucdet.errors import InputError
from nucdet.postprocessing.blocks import by_blocks
from nucdet.postprocessing.cutting import cut_overlaps, fill_holes
from nucdet.postprocessing.outline_offset import offset_outlines
from nucdet.postprocessing.rules import Candidates, OverlapSettings, apply_rules
from nucdet.structures import CroppedMasks


@dataclass(frozen=True, kw_only=True)
class MaskCandidates(Candidates):
    """Candidates with their pixels, processed in blocks so that the image may have any size.

    Attributes:
        masks: N masks of one image.
    """

    masks: CroppedMasks

    @classmethod
    def of_masks(
        cls,
        masks: CroppedMasks,
        scores: np.ndarray | None = None,
        classes: np.ndarray | None = None,
    ) -> MaskCandidates:
        """All masks of an image, with their scores and classes if known.

        Raises:
            ValueError: not as many scores as masks.
        """
        if scores is not None and len(scores) != len(masks):
            raise ValueError(f"{len(scores)} scores for {len(masks)} masks")
        return cls(
            areas=masks.areas,
            scores=scores,
            classes=classes,
            numbers=np.arange(len(masks), dtype=np.int64),
            masks=masks,
        )

    def keep(self, wanted: np.ndarray) -> MaskCandidates:
        if wanted.all():
            return self
        return replace(self, masks=self.masks[wanted], **self.columns(wanted))

    def cut(self, rank: np.ndarray, keep_largest_piece: bool) -> MaskCandidates:
        def change(masks: CroppedMasks, indices: np.ndarray) -> CroppedMasks:
            return cut_overlaps(masks, rank[indices], keep_largest_piece)

        return self._with(by_blocks(self.masks, change))

    def fill_holes(self) -> MaskCandidates:
        return self._with(fill_holes(self.masks))

    def move_outlines(self, offset: float) -> MaskCandidates:
        return self._with(offset_outlines(self.masks, offset))

    def _with(self, masks: CroppedMasks) -> MaskCandidates:
        return replace(self, masks=masks, areas=masks.areas)


def eliminate_overlaps(
    masks: CroppedMasks,
    scores: np.ndarray | None = None,
    priority: str = "area",
    **settings: Any,
) -> tuple[CroppedMasks, np.ndarray]:
    """Give each pixel that several masks cover to one of them; the result fits one label map.

    See :mod:`nucdet.postprocessing.rules` for the rules, their order and their settings.

    Dropped masks become background. Applied to its own result it changes nothing, except with
    settings relative to the image's masks (dropping the smallest raises the mean) and with
    ``outline_offset``.

    Args:
        masks: N masks of one image.
        scores: (N,) float, needed for ``"score"``.
        priority: ``"area"`` or ``"score"``.
        settings: other fields of :class:`nucdet.postprocessing.rules.OverlapSettings`.

    Returns:
        The K masks that are left and (K,) int64, ascending: the index each had in ``masks``.

    Raises:
        InputError: a setting out of range, or ``"score"`` without scores.

    Example:
        The larger of two overlapping masks stays whole, the speck is dropped::

            >>> dense = np.zeros((3, 1, 9), dtype=bool)
            >>> dense[0, 0, :4] = dense[1, 0, 3:8] = dense[2, 0, 8:] = True
            >>> left, kept = eliminate_overlaps(CroppedMasks.from_dense(dense), min_area=2)
            >>> left.areas.tolist(), kept.tolist()
            ([3, 5], [0, 1])
    """
    rules = OverlapSettings(priority=priority, **settings)
    left = apply_rules(MaskCandidates.of_masks(masks, scores), rules)
    return left.masks, left.numbers


class OverlapElimination:
    """Applies the rules to Detectron2's predictions.

    ``TEST.OVERLAP_ELIMINATION`` and ``TEST.OUTLINE_OFFSET`` set them. Evaluators, the submission
    writer, prediction of images of any size and the drawings of results all take their masks from
    here.
    """

    @configurable
    def __init__(self, *, enabled: bool, settings: OverlapSettings):
        """
        Args:
            enabled: if False, masks are only converted to :class:`CroppedMasks`.
            settings: of the rules.
        """
        self.enabled = enabled
        self.settings = settings

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {
            "enabled": cfg.TEST.OVERLAP_ELIMINATION.ENABLED,
            "settings": OverlapSettings.from_config(cfg),
        }

    def __call__(self, instances: Instances) -> Instances:
        """Resolve the overlaps of one image's predictions, then move their outlines.

        Args:
            instances: ``pred_masks`` (CroppedMasks or dense N x H x W, any device), ``scores`` and
                ``pred_classes`` if a rule needs them, any other fields.

        Returns:
            New Instances on the CPU, ``pred_masks`` as CroppedMasks. If enabled: those that are
            left, in the same order, ``pred_boxes`` tight around the new masks, other fields kept.

        Raises:
            InputError: no ``pred_masks``, or no ``scores`` where a rule needs them.
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
        scores, classes = (
            result.get(name).numpy() if result.has(name) else None
            for name in ("scores", "pred_classes")
        )
        masks = MaskCandidates.of_masks(result.pred_masks, scores, classes)
        left = apply_rules(masks, self.settings)
        result = result[torch.from_numpy(left.numbers)]
        result.pred_masks = left.masks
        result.pred_boxes = Boxes(torch.from_numpy(left.masks.boxes))
        return result
