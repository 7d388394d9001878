"""Numbers of nuclei over the planes of a stack."""

from __future__ import annotations

import numpy as np

from nucdet.data.io.choice import Place
from nucdet.predict.linking import PlaneLinks
from nucdet.structures import CroppedMasks

SIZE = (20, 40)


def squares(*corners: tuple[int, int], side: int = 8) -> CroppedMasks:
    """Squares of the same side, by their top left corners."""
    offsets = np.array(corners, np.int64).reshape(-1, 2)
    return CroppedMasks(offsets, [np.ones((side, side), bool)] * len(corners), SIZE)


def block(top: int, left: int, height: int, width: int) -> CroppedMasks:
    """One rectangle."""
    return CroppedMasks(np.array([(top, left)]), [np.ones((height, width), bool)], SIZE)


def numbered(planes: list[CroppedMasks], axis: str | None) -> list[list[int]]:
    """The numbers of the masks of successive planes along an axis."""
    links = PlaneLinks(axis)
    places = [Place(time=i) if axis == "time" else Place(z=i) for i in range(len(planes))]
    return [links.number(m, place).tolist() for m, place in zip(planes, places, strict=True)]


def test_without_an_axis_every_mask_has_a_number_of_its_own():
    planes = [squares((0, 0), (0, 20)), squares(), squares((0, 0))]
    assert numbered(planes, None) == [[1, 2], [], [3]]


def test_in_time_masks_continue_a_nucleus_whose_iou_exceeds_a_tenth():
    # the columns shared with the first are 8 - shift, and their IoU is (8 - shift) / (8 + shift)
    for shift, same in ((0, True), (6, True), (7, False)):
        first, second = numbered([squares((0, 10)), squares((0, 10 + shift))], "time")
        assert (first == second) is same, shift


def test_in_depth_most_of_one_section_must_be_covered_by_the_other():
    for shift, same in ((0, True), (1, True), (2, False)):  # 6 of 8 columns: three quarters
        first, second = numbered([squares((0, 10)), squares((0, 10 + shift))], "z")
        assert (first == second) is same, shift
    # the ends of a nucleus are far smaller than its middle
    assert numbered([block(3, 3, 2, 2), squares((0, 0)), block(2, 2, 3, 2)], "z") == [[1], [1], [1]]


def test_in_depth_a_section_that_grows_again_begins_the_next_nucleus():
    areas = [(8, 8), (8, 6), (8, 5), (8, 7), (8, 8)]  # 40 pixels are a waist of 64 and of 56
    assert numbered([block(0, 0, *shape) for shape in areas], "z") == [[1], [1], [1], [2], [2]]
    assert numbered([block(0, 0, *shape) for shape in areas], "time")[-1] == [1]
    # no waist: 56 of 64 pixels
    assert numbered([block(0, 0, 8, width) for width in (8, 7, 8)], "z")[-1] == [1]
    # no growth: 48, then 56 pixels; and growth from 40 to 48, but the first section is smaller
    assert numbered([block(0, 0, 8, width) for width in (8, 6, 7)], "z")[-1] == [1]
    assert numbered([block(0, 0, 8, width) for width in (5, 6, 8)], "z")[-1] == [1]


def test_the_most_alike_are_linked_first_and_no_nucleus_twice():
    # the second plane's first mask overlaps both nuclei, and is more like the second
    planes = [squares((0, 0), (0, 8)), squares((0, 5), (0, 13))]
    assert numbered(planes, "time") == [[1, 2], [2, 3]]
    # a division: the daughter that is more alike keeps the number
    daughters = CroppedMasks.cat([block(0, 0, 8, 5), block(0, 5, 8, 3)])
    assert numbered([squares((0, 0)), daughters], "time") == [[1], [1, 2]]


def test_a_nucleus_that_is_missed_once_continues_in_time_but_not_in_depth():
    there, missed = squares((0, 0), (0, 20)), squares((0, 20))
    assert numbered([there, missed, there], "time") == [[1, 2], [2], [1, 2]]
    assert numbered([there, missed, missed, there], "time")[-1] == [3, 2]
    assert numbered([there, missed, there], "z") == [[1, 2], [2], [3, 2]]


def test_planes_are_compared_along_the_axis_only():
    mask = squares((0, 0))
    places = [Place(time, z) for time in (0, 1) for z in (0, 1)]
    for axis, expected in (("z", [1, 1, 2, 2]), ("time", [1, 2, 1, 2]), (None, [1, 2, 3, 4])):
        links = PlaneLinks(axis)
        assert [int(links.number(mask, place)[0]) for place in places] == expected
        assert links.count == max(expected)


def test_ellipsoids_that_do_not_touch_are_told_apart():
    """Every ellipsoid of a volume gets one number, and no number stands for two."""
    random = np.random.default_rng(5)
    grid = np.stack(np.mgrid[:24, :160, :160], -1).astype(float)
    volume = np.zeros(grid.shape[:3], np.int32)
    for number in range(1, 41):
        center = random.uniform((3, 10, 10), (21, 150, 150))
        radii = (random.uniform(2, 5), *random.uniform(5, 12, 2))
        inside = (((grid - center) / radii) ** 2).sum(-1) < 1
        # with a gap around it, as touching ones cannot be told apart by their sections
        if not volume[(((grid - center) / (np.array(radii) + 2)) ** 2).sum(-1) < 1].any():
            volume[inside] = number
    links, pairs = PlaneLinks("z"), set()
    for z, plane in enumerate(volume):
        labels = np.unique(plane)[1:].tolist()
        numbers = links.number(CroppedMasks.from_label_map(plane), Place(z=z)).tolist()
        pairs |= set(zip(labels, numbers, strict=True))
    nuclei = len(np.unique(volume)) - 1
    assert nuclei > 15
    assert len(pairs) == links.count == nuclei
