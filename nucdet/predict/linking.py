"""Links the nuclei of successive planes of a stack, so that a nucleus has one number in all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nucdet.data.io.choice import Place
from nucdet.evaluation.matching import Intersections
from nucdet.export import ImageRecord
from nucdet.structures import CroppedMasks

# The limits are compared by benchmarks/linking.py. In depth: the least share of the smaller of two
# sections that the larger one covers, since the last section of a nucleus is often much smaller
# than the one before; and how much smaller than the largest a section must be, and again than the
# one after it, for two nuclei that lie one above the other.
_LEAST_COVERED = 0.75
_WAIST = 0.8
# in time: the least IoU, which a nucleus has that moves by three quarters of its diameter
_LEAST_IOU = 0.1


class _Sections(NamedTuple):
    """The areas of a nucleus in depth so far, pixels: the largest, and the least after it."""

    largest: int
    least: int


class _Seen(NamedTuple):
    """The N nuclei with which the next plane is compared.

    Attributes:
        masks: those of the last plane, then those of the one before that were missed in it.
        numbers: (N,) int64.
        last: how many are of the last plane.
        sections: in depth those of each nucleus, by its number; empty in time.
    """

    masks: CroppedMasks
    numbers: np.ndarray
    last: int
    sections: dict[int, _Sections]


class PlaneLinks:
    """Numbers the nuclei of a stack's planes, which come in the order of the file.

    Without an axis every mask gets a number of its own. Along an axis, a mask may continue a
    nucleus of the plane before. The pair with the largest IoU is linked first, and no mask twice;
    what remains gets new numbers.

    In depth, one of the two masks must cover most of the other, and where the masks of a nucleus
    have shrunk and grow again, another nucleus begins. In time, they only have to overlap. A
    nucleus that is missed once in time continues after that; in depth it does not, because one
    empty plane often separates two nuclei. Where a nucleus divides, the daughter that is more alike
    keeps its number.

    Attributes:
        count: the largest number so far, which is that of the nuclei.
    """

    def __init__(self, axis: str | None = None):
        """
        Args:
            axis: "z" links the depths of each time, "time" the times of each depth; None: nothing.
        """
        self.count = 0
        self._axis = axis
        self._seen: dict[int | str, _Seen] = {}

    def number(self, masks: CroppedMasks, place: Place) -> np.ndarray:
        """The numbers of a plane's N masks, from 1: (N,) int64.

        Args:
            masks: of the next plane.
            place: of that plane.
        """
        numbers = self._continued(masks, place)
        new = np.flatnonzero(numbers == 0)
        numbers[new] = self.count + 1 + np.arange(len(new))
        self.count += len(new)
        if self._axis is not None:
            self._remember(masks, numbers, place)
        return numbers

    def resume(self, planes: Iterable[ImageRecord]) -> None:
        """Go on after planes whose nuclei an earlier run has numbered, in their order."""
        for plane in planes:
            numbers = np.array(plane.columns["id"], np.int64)
            self.count = max(self.count, int(numbers.max(initial=0)))
            if self._axis is not None:
                self._remember(plane.masks(), numbers, plane.place)

    def _row(self, place: Place) -> int | str:
        """The position across the axis: planes are compared with those of the same row only."""
        return place.time if self._axis == "z" else place.z

    def _continued(self, masks: CroppedMasks, place: Place) -> np.ndarray:
        """The numbers of the masks that continue a nucleus, 0 for the others: (N,) int64."""
        numbers = np.zeros(len(masks), np.int64)
        seen = self._seen.get(self._row(place))
        if seen is None:
            return numbers
        shared = Intersections.of_masks(seen.masks, masks)
        ious = shared.pixels / shared.unions
        if self._axis == "z":
            smaller = np.minimum(shared.true_areas[shared.true], shared.pred_areas[shared.pred])
            alike = np.flatnonzero(shared.pixels > _LEAST_COVERED * smaller)
        else:
            alike = np.flatnonzero(ious > _LEAST_IOU)
        taken = np.zeros(len(seen.masks), bool)
        for pair in alike[np.argsort(-ious[alike], kind="stable")]:
            old, new = shared.true[pair], shared.pred[pair]
            if numbers[new] or taken[old]:
                continue
            taken[old] = True
            number = int(seen.numbers[old])
            area = shared.pred_areas[new]
            if self._axis == "time" or not _is_next(seen.sections[number], area):
                numbers[new] = number
        return numbers

    def _remember(self, masks: CroppedMasks, numbers: np.ndarray, place: Place) -> None:
        """Keep the nuclei of a plane for the comparison with the next one of its row."""
        row = self._row(place)
        before = self._seen.get(row)
        seen = _Seen(masks, numbers, len(masks), {})
        if self._axis == "z":
            earlier = before.sections if before else {}
            for number, area in zip(numbers.tolist(), masks.areas.tolist(), strict=True):
                seen.sections[number] = _with(earlier.get(number), area)
        elif before:
            missed = np.flatnonzero(~np.isin(before.numbers[: before.last], numbers))
            seen = seen._replace(
                masks=CroppedMasks.cat([masks, before.masks[missed]]),
                numbers=np.append(numbers, before.numbers[missed]),
            )
        self._seen[row] = seen


def _with(sections: _Sections | None, area: int) -> _Sections:
    """The sections of a nucleus with the next one."""
    if sections is None or area > sections.largest:
        return _Sections(area, area)
    return _Sections(sections.largest, min(sections.least, area))


def _is_next(sections: _Sections, area: int) -> bool:
    """Whether a section belongs to the next nucleus: the one before has ended in between."""
    return sections.least < _WAIST * sections.largest and sections.least < _WAIST * area
