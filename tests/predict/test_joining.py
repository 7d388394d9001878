"""Tiles and their stitching, with connected components as a network that sees each tile alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nucdet.predict.joining import stitch
from nucdet.predict.planning import Tile, tile_grid
from nucdet.structures import CroppedMasks


def instances_of(masks: CroppedMasks, scores: np.ndarray | None = None) -> Instances:
    scores = masks.areas / 1e6 if scores is None else scores
    return Instances(
        masks.image_size,
        pred_masks=masks,
        pred_boxes=Boxes(torch.from_numpy(masks.boxes)),
        scores=torch.as_tensor(scores, dtype=torch.float32),
        pred_classes=torch.zeros(len(masks), dtype=torch.int64),
    )


def components(image: np.ndarray) -> Instances:
    """Every connected piece of the foreground, the larger the surer."""
    return instances_of(CroppedMasks.from_label_map(ndimage.label(image)[0]))


def in_tiles(image: np.ndarray, tiles: list[Tile], find=components, **options) -> Instances:
    return stitch(tiles, [find(image[t.box]) for t in tiles], image.shape, **options)


def as_set(masks: CroppedMasks) -> set[tuple]:
    pairs = zip(masks.offsets.tolist(), masks.crops, strict=True)
    return {(*offset, crop.shape, crop.tobytes()) for offset, crop in pairs}


def discs(size: tuple[int, int], centers, radius: float) -> np.ndarray:
    image = np.zeros(size, bool)
    y, x = np.ogrid[: size[0], : size[1]]
    for cy, cx in centers:
        image |= (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return image


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    tile=st.integers(40, 120),
    overlap=st.integers(1, 39),
    grid=st.sampled_from([1, 8, 64 / 9]),
)
@settings(deadline=None, max_examples=60)
def test_a_grid_covers_the_image_and_neighbors_overlap(size, tile, overlap, grid):
    tiles = tile_grid(size, tile, overlap, grid)
    seen = np.zeros(size, bool)
    for t in tiles:
        seen[t.box] = True
        assert max(t.size) <= max(tile, grid + overlap) + (1.5 if grid % 1 else 0)
        for start in (t.y0, t.x0):
            assert abs(start - round(start / grid) * grid) <= (0.5 if grid % 1 else 0)
        assert 0 <= t.y0 < t.y1 <= size[0] and 0 <= t.x0 < t.x1 <= size[1]
    assert seen.all()
    if max(size) <= tile:
        assert tiles == [Tile(0, 0, *size)]
    for starts, ends in (
        (sorted({t.x0 for t in tiles}), sorted({t.x1 for t in tiles})),
        (sorted({t.y0 for t in tiles}), sorted({t.y1 for t in tiles})),
    ):
        assert all(end - start >= overlap for end, start in zip(ends, starts[1:], strict=False))


def test_nuclei_on_every_seam_are_whole_and_single():
    size, overlap = (300, 340), 40
    tiles = tile_grid(size, 120, overlap)
    rows, columns = sorted({t.y0 for t in tiles}), sorted({t.x0 for t in tiles})
    assert len(rows) >= 3 and len(columns) >= 3
    # on both borders and the middle of each overlap, in both directions and their crossings
    ys = {10} | {y + d for y in rows[1:] for d in (0, overlap // 2, overlap)}
    xs = {10} | {x + d for x in columns[1:] for d in (0, overlap // 2, overlap)}
    image = discs(size, [(y, x) for y in ys for x in xs], 8)
    whole, stitched = components(image), in_tiles(image, tiles)
    assert len(whole) == len(ys) * len(xs)
    assert as_set(stitched.pred_masks) == as_set(whole.pred_masks)
    torch.testing.assert_close(stitched.scores, whole.scores.sort(descending=True).values)


@given(seed=st.integers(0, 10_000))
@example(seed=670)  # two tiles see the same fragment, a third one the whole
@settings(deadline=None, max_examples=25)
def test_stitched_is_untiled_for_random_nuclei(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(190, 230)), 3)
    # what the seams can hold: pieces of at most half the overlap
    labels = ndimage.label(field > 1.6 * field.std())[0]
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if max(s.stop - s.start for s in box) > 22:
            labels[labels == number] = 0
    image = labels > 0
    whole, stitched = components(image), in_tiles(image, tile_grid(image.shape, 100, 48))
    assert len(whole)
    assert as_set(stitched.pred_masks) == as_set(whole.pred_masks)


def test_a_nucleus_larger_than_the_overlap_is_united():
    image = discs((200, 200), [(100, 100)], 70)
    stitched = in_tiles(image, tile_grid((200, 200), 80, 20))
    assert as_set(stitched.pred_masks) == as_set(components(image).pred_masks)
    np.testing.assert_array_equal(stitched.pred_boxes.tensor, [[30, 30, 171, 171]])


def test_of_two_outlines_the_one_deeper_inside_its_tile_is_kept():
    tiles = [Tile(0, 0, 50, 60), Tile(0, 40, 50, 100)]
    narrow, wide = (discs((50, 100), [(25, 49)], radius) for radius in (7, 8))
    found = [components(image[t.box]) for image, t in zip((narrow, wide), tiles, strict=True)]
    stitched = stitch(tiles, found, narrow.shape)
    assert as_set(stitched.pred_masks) == as_set(components(narrow).pred_masks)


def test_what_only_one_tile_found_is_dropped_where_the_other_saw_it_better():
    tiles = [Tile(0, 0, 50, 60), Tile(0, 40, 50, 100)]
    image = discs((50, 100), [(25, 55)], 8)  # cut by the first tile's border at 60
    left, right = (components(image[t.box]) for t in tiles)
    assert len(stitch(tiles, [left, right[:0]], (50, 100))) == 0
    # not cut, but one tile sees it a pixel deeper inside than the other
    for x, found_by_left, found_by_right in ((49, 1, 0), (50, 0, 1)):
        image = discs((50, 100), [(25, x)], 7)
        left, right = (components(image[t.box]) for t in tiles)
        assert len(stitch(tiles, [left, right], (50, 100))) == 1
        assert len(stitch(tiles, [left, right[:0]], (50, 100))) == found_by_left
        assert len(stitch(tiles, [left[:0], right], (50, 100))) == found_by_right
    # larger than what both see: nobody saw it all, so it stays
    image = discs((50, 100), [(25, 55)], 8)
    image[20:30, 10:60] = True
    left = components(image[tiles[0].box])
    assert len(stitch(tiles, [left, right[:0]], (50, 100))) == 1


def test_a_fragment_is_dropped_but_a_nucleus_on_a_nucleus_is_not():
    tiles = [Tile(0, 0, 60, 72), Tile(0, 30, 60, 100)]
    large, small = discs((60, 100), [(30, 45)], 12), discs((60, 100), [(30, 45)], 4)

    def crop(masks: list[np.ndarray], tile: Tile) -> Instances:
        return instances_of(CroppedMasks.from_dense(np.stack(masks)[:, *tile.box]))

    both = [crop([large, small], t) for t in tiles]
    assert sorted(stitch(tiles, both, (60, 100)).pred_masks.areas) == [small.sum(), large.sum()]
    # each found by one tile alone: the one that lies deeper in its tile is believed
    lone = [crop([large], tiles[0]), crop([small], tiles[1])]
    assert stitch(tiles, lone, (60, 100)).pred_masks.areas.tolist() == [large.sum()]


def test_a_nucleus_stays_where_the_other_tile_found_only_a_clump_with_it():
    tiles = [Tile(0, 0, 80, 60), Tile(50, 0, 130, 60)]
    nuclei = np.zeros((130, 60), int)
    nuclei[58:68, 20:40], nuclei[70:110, 20:40] = 1, 2
    clump = np.zeros((80, 60), int)
    clump[58:80, 20:40] = 1
    # the clump is cut, so it is dropped for the first nucleus, which lies deeper in its own tile
    found = [instances_of(CroppedMasks.from_label_map(m)) for m in (clump, nuclei[tiles[1].box])]
    stitched = stitch(tiles, found, nuclei.shape)
    assert as_set(stitched.pred_masks) == as_set(CroppedMasks.from_label_map(nuclei))


def test_nothing_found():
    tiles = tile_grid((100, 100), 60, 20)
    found = in_tiles(np.zeros((100, 100), bool), tiles)
    assert len(found) == 0 and found.pred_masks.image_size == (100, 100)


@pytest.mark.parametrize("other", [Tile(0, 60, 50, 90), Tile(50, 0, 90, 60)])
def test_tiles_that_only_touch_share_nothing(other):
    assert Tile(0, 0, 50, 60).shared_with(other) is None
