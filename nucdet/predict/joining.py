"""Merges the nuclei of overlapping tiles into one list for the image.

Two masks of different tiles are considered the same nucleus if they agree within the strip that
both tiles share. So a mask cut by the border of its tile is matched with the whole nucleus in the
other tile, and the parts of a nucleus that is larger than the strip are matched with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nucdet.predict.planning import Plan, Tile
from nucdet.structures import CroppedMasks

# Two masks are the same nucleus if their intersection is more than this share of their union (IoU),
# and one is a fragment of the other if it is more than this share of the smaller mask.
_AGREEMENT = 0.5


def join_tiles(
    plan: Plan, found: Sequence[Instances], image_size: tuple[int, int], size: tuple[int, int]
) -> Instances:
    """Merge the nuclei of an image's tiles.

    Args:
        plan: the tiles of the image; if there is only one, its nuclei already are in pixels of
            ``size``.
        found: the nuclei of each tile, in the tile's pixels, see :func:`stitch`.
        image_size: (height, width) of the image.
        size: (height, width) of the result.

    Returns:
        Instances of the given size, highest score first.
    """
    if len(plan.tiles) == 1:
        # some networks return them in order of position
        return found[0][found[0].scores.argsort(descending=True, stable=True)]
    border = max(1, math.ceil(1 / plan.zoom))
    return resized(stitch(plan.tiles, found, image_size, border), size)


def stitch(
    tiles: Sequence[Tile], found: Sequence[Instances], size: tuple[int, int], border: int = 1
) -> Instances:
    """Combine the nuclei of overlapping tiles, so that each appears once and whole.

    Of several masks of the same nucleus, the one that lies deepest inside its tile is kept; if all
    of them are cut by the borders of their tiles, their union is kept. Three kinds of masks are
    dropped: those not found by another tile, although they lie deeper inside it and it shows more
    of their surroundings; parts cut by a border that lie whole inside another tile; and fragments
    of a nucleus that only the other tile found. Overlaps of different nuclei are left to overlap
    elimination.

    Args:
        tiles: T windows.
        found: the nuclei of each tile, in the tile's pixels: ``pred_masks`` (CroppedMasks),
            ``pred_boxes``, ``scores``, ``pred_classes``; the masks must not be empty.
        size: (height, width) of the image.
        border: masks within this many pixels of a tile's inner border count as cut.

    Returns:
        Instances of the image with the same fields, highest score first.
    """
    pool = _Pool(tiles, found, size, border)
    pairs = list(pool.pairs())
    same = [(i, j) for i, j, agree, _ in pairs if agree > _AGREEMENT]
    rows, columns = np.array(same, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(pool), len(pool)))
    group = connected_components(graph, directed=False)[1]

    members = np.argsort(group, kind="stable")
    groups = np.split(members, np.flatnonzero(np.diff(group[members])) + 1) if len(pool) else []
    chosen = [int(ids[np.argmax(pool.depth[ids])]) for ids in groups]
    dropped, finders = _fragments(pool, pairs, group, chosen)
    kept, united = [], {}
    for number, (ids, best) in enumerate(zip(groups, chosen, strict=True)):
        cut = pool.depth[best] <= border
        least = 0 if cut else int(pool.depth[best]) + 1
        if number in dropped or pool.seen_better(ids, finders[number], least):
            continue
        kept.append(best)
        if cut and len(ids) > 1:
            united[best] = pool.union(ids)
    return pool.instances(np.array(kept, dtype=int), united)


class _Pool:
    """The N masks of all tiles in the image's pixels.

    Attributes:
        tiles, size, border: see :func:`stitch`.
        tile_of: (N,) int, ascending: the index of the tile that each mask is from.
        masks: the masks.
        boxes: (N, 4) int64, y0, x0, y1, x1: around each mask.
        net_boxes: (N, 4) float, x0, y0, x1, y1: those that the network predicted.
        fields: the other fields of the instances, (N,) each.
        windows: (T, 4) int, y0, x0, y1, x1: the tiles.
        neighbors: for each tile the indices of those that share an area with it, and its own.
        depth: (N,) int, pixels from each mask to the nearest border of its tile inside the image.
    """

    def __init__(
        self, tiles: Sequence[Tile], found: Sequence[Instances], size: tuple[int, int], border: int
    ):
        self.tiles, self.size, self.border = tiles, size, border
        self.tile_of = np.repeat(np.arange(len(tiles)), [len(instances) for instances in found])
        corners = np.array([(t.y0, t.x0) for t in tiles])
        shifted = [
            CroppedMasks(instances.pred_masks.offsets + corner, instances.pred_masks.crops, size)
            for corner, instances in zip(corners, found, strict=True)
        ]
        self.masks = CroppedMasks.cat(shifted)
        self.fields = {
            name: torch.cat([instances.get(name) for instances in found])
            for name in ("scores", "pred_classes")
        }
        shifts = [torch.tensor([t.x0, t.y0, t.x0, t.y0]) for t in tiles]
        self.net_boxes = torch.cat(
            [i.pred_boxes.tensor + s for i, s in zip(found, shifts, strict=True)]
        )
        self.boxes = self.masks.boxes[:, [1, 0, 3, 2]].astype(np.int64)
        self.windows = np.array([(t.y0, t.x0, t.y1, t.x1) for t in tiles])
        y0, x0, y1, x1 = self.windows.T
        self.neighbors = [
            np.flatnonzero((y0 < t.y1) & (y1 > t.y0) & (x0 < t.x1) & (x1 > t.x0)) for t in tiles
        ]
        self.depth = _depths(self.boxes, self.windows[self.tile_of], size)

    def __len__(self) -> int:
        return len(self.masks)

    def pairs(self) -> Iterator[tuple[int, int, float, float]]:
        """The pairs of masks of different tiles whose bounding boxes intersect.

        Yields:
            i, j, the intersection over union within the area that both tiles share, and the
            intersection as a share of the smaller mask's pixels.
        """
        for a, one in enumerate(self.tiles):
            for b in self.neighbors[a][self.neighbors[a] > a].tolist():
                zone = one.shared_with(self.tiles[b])
                first, second = (self._inside(t, zone) for t in (a, b))
                for i, j in self._meeting(first, second):
                    yield i, j, *self._compare(i, j, zone)

    def _inside(self, tile: int, zone: Tile) -> np.ndarray:
        """The masks of a tile, by its index, whose boxes intersect a zone."""
        first, last = np.searchsorted(self.tile_of, (tile, tile + 1))
        y0, x0, y1, x1 = self.boxes[first:last].T
        return first + np.flatnonzero(
            (y0 < zone.y1) & (y1 > zone.y0) & (x0 < zone.x1) & (x1 > zone.x0)
        )

    def _meeting(self, first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
        """The pairs of a mask of ``first`` and one of ``second`` whose boxes intersect."""
        one, two = self.boxes[first][:, None], self.boxes[second][None]
        meet = (one[..., :2] < two[..., 2:]).all(-1) & (two[..., :2] < one[..., 2:]).all(-1)
        for i, j in zip(*np.nonzero(meet), strict=True):
            yield int(first[i]), int(second[j])

    def _compare(self, i: int, j: int, zone: Tile) -> tuple[float, float]:
        one, two = self._within(i, zone), self._within(j, zone)
        y0, x0 = np.maximum(self.boxes[i, :2], self.boxes[j, :2])
        y1, x1 = np.minimum(self.boxes[i, 2:], self.boxes[j, 2:])
        both = Tile(int(y0), int(x0), int(y1), int(x1))
        common = np.count_nonzero(self._within(i, both) & self._within(j, both))
        union = np.count_nonzero(one) + np.count_nonzero(two) - common
        smaller = min(np.count_nonzero(self.masks.crops[k]) for k in (i, j))
        return common / max(union, 1), common / smaller

    def _within(self, i: int, window: Tile) -> np.ndarray:
        """The part of mask i's crop inside a window, which must intersect the mask's box."""
        y, x = self.boxes[i, :2]
        rows = slice(max(0, window.y0 - y), max(0, window.y1 - y))
        return self.masks.crops[i][rows, max(0, window.x0 - x) : max(0, window.x1 - x)]

    def seen_better(self, ids: np.ndarray, finders: set[int], depth: int) -> bool:
        """Whether a tile other than ``finders`` contains all these masks at least this deep."""
        (y0, x0), (y1, x1) = self.boxes[ids, :2].min(axis=0), self.boxes[ids, 2:].max(axis=0)
        # a tile that contains the first mask shares an area with the tile of that mask
        near = self.neighbors[self.tile_of[ids[0]]].tolist()
        others = self.windows[[tile for tile in near if tile not in finders]]
        depths = _depths(np.array([[y0, x0, y1, x1]]), others, self.size)
        return bool((depths >= depth).any())

    def union(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The union of several masks: (y0, x0) and crop."""
        low, high = self.boxes[ids, :2].min(axis=0), self.boxes[ids, 2:].max(axis=0)
        window = np.zeros(high - low, bool)
        for i in ids.tolist():
            y0, x0, y1, x1 = self.boxes[i] - np.tile(low, 2)
            window[y0:y1, x0:x1] |= self.masks.crops[i]
        return low, window

    def instances(
        self, kept: np.ndarray, united: dict[int, tuple[np.ndarray, np.ndarray]]
    ) -> Instances:
        """The masks of these indices, highest score first; ``united`` replaces some of them."""
        kept = kept[np.lexsort((kept, -self.fields["scores"].numpy()[kept]))]
        masks, boxes = self.masks[kept], self.net_boxes[kept].clone()
        for k, i in enumerate(kept.tolist()):
            if i in united:
                masks.offsets[k], masks.crops[k] = united[i]
                boxes[k] = torch.from_numpy(masks[k].boxes[0])
        result = Instances(self.size, pred_masks=masks, pred_boxes=Boxes(boxes))
        for name, values in self.fields.items():
            result.set(name, values[torch.from_numpy(kept)])
        return result


def _depths(boxes: np.ndarray, windows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How many pixels boxes lie inside windows, both (N, 4) as y0, x0, y1, x1; < 0: not inside.

    Borders of a window that are also borders of the image do not count; if there are no others, the
    depth is 10⁹.
    """
    free = (boxes - windows) * (1, 1, -1, -1)
    edge = windows == (0, 0, *size)
    return np.where(edge & (free >= 0), 10**9, free).min(axis=1, initial=10**9)


def _fragments(
    pool: _Pool,
    pairs: list[tuple[int, int, float, float]],
    group: np.ndarray,
    chosen: list[int],
) -> tuple[set[int], dict[int, set[int]]]:
    """The groups to drop: of two that overlap, the one that lies less deep inside its tile.

    This applies only if one of the two is cut by its tile's border and the other is whole, or if no
    tile found both.

    Returns:
        The groups to drop, and for each group the tiles that found it. These include the tiles of
        what was dropped in its favor: they found it as a part of that, and do not disprove it.
    """
    tiles_of: dict[int, set[int]] = {}
    for i, g in enumerate(group.tolist()):
        tiles_of.setdefault(g, set()).add(int(pool.tile_of[i]))
    dropped: set[int] = set()
    finders = {g: set(tiles) for g, tiles in tiles_of.items()}
    for i, j, _, share in pairs:
        a, b = int(group[i]), int(group[j])
        if a == b or share <= _AGREEMENT or chosen[a] != i or chosen[b] != j:
            continue
        one_is_cut = (pool.depth[i] <= pool.border) != (pool.depth[j] <= pool.border)
        # a tile that contains both, whole or cut, found both: they are two nuclei
        if not one_is_cut and tiles_of[a] & tiles_of[b]:
            continue
        loser, winner = (i, j) if pool.depth[i] < pool.depth[j] else (j, i)
        dropped.add(int(group[loser]))
        finders[int(group[winner])].add(int(pool.tile_of[loser]))
    return dropped, finders


def resized(instances: Instances, size: tuple[int, int]) -> Instances:
    """Rescale instances to (height, width); masks that lose all their pixels are left out."""
    if instances.image_size == size:
        return instances
    (height, width), (to_height, to_width) = instances.image_size, size
    y, x = to_height / height, to_width / width
    offsets, windows = [], []
    for (top, left), crop in zip(
        instances.pred_masks.offsets.tolist(), instances.pred_masks.crops, strict=True
    ):
        # pixels of the new size whose centers lie in the crop
        rows = np.arange(round(top * y), round((top + crop.shape[0]) * y))
        columns = np.arange(round(left * x), round((left + crop.shape[1]) * x))
        at_y, at_x = (rows + 0.5) / y - top - 0.5, (columns + 0.5) / x - left - 0.5
        grid = np.meshgrid(at_x.astype(np.float32), at_y.astype(np.float32))
        window = np.zeros((len(rows), len(columns)), np.float32)
        if window.size:
            window = cv2.remap(crop.astype(np.float32), *grid, cv2.INTER_LINEAR)
        offsets.append((round(top * y), round(left * x)))
        windows.append(window >= 0.5)
    result = Instances(size, **instances.get_fields())
    result.pred_masks = CroppedMasks.from_windows(np.array(offsets).reshape(-1, 2), windows, size)
    result.pred_boxes = Boxes(instances.pred_boxes.tensor * torch.tensor([x, y, x, y]))
    return result[result.pred_masks.nonempty()]
