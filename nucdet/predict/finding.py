"""The one road from opened images to their nuclei, for prediction and evaluation alike.

How an image is shown to the network (its zoom, whole or in tiles, with which limits on detections)
is decided here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from nucdet.data.augment.geometry import MOST_ZOOM
from nucdet.data.io.windows import ImageWindows
from nucdet.predict.diameter import estimate_diameter
from nucdet.predict.network import Network
from nucdet.predict.options import check_diameter
from nucdet.predict.tiling import Tile, stitch, tile_grid
from nucdet.structures import CroppedMasks

# in pixels as the network sees them
WHOLE_SIDE = 1536  # images up to this side go as they are
TILE_SIDE = 1152
TILE_OVERLAP = 128  # four nuclei of common size
_STRIDE = 64  # of the coarsest feature map
# what the limits on proposals and detections of a config are meant for, as pixels of an image
_USUAL_PIXELS = 1 << 19


class Plan(NamedTuple):
    """How an image is shown to the network."""

    zoom: float
    diameter: float | None  # that the zoom is for
    tiles: list[Tile]

    @property
    def capacity(self) -> float:
        """A tile may hold more nuclei than the images that a config's limits are meant for."""
        largest = max(tile.size[0] * tile.size[1] for tile in self.tiles) * self.zoom**2
        return max(1.0, largest / _USUAL_PIXELS)


class Found(NamedTuple):
    """The nuclei of an image before overlap elimination, in its pixels, on the CPU."""

    instances: Instances  # masks as CroppedMasks, none empty
    plan: Plan


class Finder:
    """Plans each image, asks the network, and puts tiles together.

    Example::

        found = Finder(cfg, Network.load(cfg))([open_windows("image.tif")])
        nuclei = OverlapElimination(cfg)(found[0].instances)
    """

    def __init__(self, cfg: CfgNode, network: Network):
        """
        Args:
            cfg: of the network.
            network: what finds nuclei.
        """
        self.network = network
        self._wanted = cfg.TEST.NUCLEUS_DIAMETER
        # a network that has seen nuclei of one size alone is shown that size
        self._usual_diameter = "auto" if cfg.INPUT.RESIZE_RULE == "diameter" else None

    def __call__(
        self,
        sources: Sequence[ImageWindows],
        diameter: float | str | None = None,
        progress: Callable[[int, int], None] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Found]:
        """Find the nuclei of images; on a GPU those of equal size go through together.

        Args:
            sources: the images.
            diameter: of the nuclei, in pixels of the image: it is rescaled so that they are as
                large as in training. "auto": estimated from a first look. None: "auto" where
                INPUT.RESIZE_RULE is "diameter", else resized by INPUT.MIN_SIZE_TEST.
            progress: called as ``progress(tiles done, tiles)`` where there are several.
            sizes: (height, width) of each, in whose pixels the answers are to be; None: their own.

        Raises:
            InputError: a file is damaged; a diameter that is none.
        """
        check_diameter(diameter)
        if diameter is None:
            diameter = self._usual_diameter
        plans = [self.plan(source, diameter) for source in sources]
        sizes = [source.size for source in sources] if sizes is None else sizes
        results: list[Found | None] = [None] * len(sources)
        whole = [i for i, plan in enumerate(plans) if len(plan.tiles) == 1]
        whole.sort(key=lambda i: (plans[i].capacity, sources[i].size, plans[i].zoom))
        for capacity, alike in groupby(whole, lambda i: plans[i].capacity):
            numbers = list(alike)
            images = (
                (sources[i].read(sources[i].whole()), plans[i].zoom, sizes[i]) for i in numbers
            )
            found = self.network(images, capacity)
            for i, instances in zip(numbers, found, strict=True):
                results[i] = Found(instances, plans[i])
        for i, source in enumerate(sources):
            if results[i] is None:
                joined = self._in_tiles(source, plans[i], progress)
                results[i] = Found(resized(joined, sizes[i]), plans[i])
        return results

    def plan(self, source: ImageWindows, diameter: float | str | None = None) -> Plan:
        """How an image will be shown; arguments as above."""
        height, width = source.size
        usual = self.network.zoom(min(height, WHOLE_SIDE), min(width, WHOLE_SIDE))
        most = max(usual, MOST_ZOOM)
        if diameter == "auto":
            diameter = estimate_diameter(self.network, source, usual, self._wanted, most)
        zoom = usual if diameter is None else min(self._wanted / float(diameter), most)
        # tiles are cut in the image's pixels
        side, tile, overlap = (
            max(1, math.floor(length / zoom)) for length in (WHOLE_SIDE, TILE_SIDE, TILE_OVERLAP)
        )
        if max(height, width) <= side:
            tile = side
        return Plan(zoom, diameter, tile_grid(source.size, tile, overlap, _STRIDE / zoom))

    def _in_tiles(
        self, source: ImageWindows, plan: Plan, progress: Callable[[int, int], None] | None
    ) -> Instances:
        tiles = plan.tiles
        images = ((source.read(tile.box), plan.zoom) for tile in tiles)
        found: list[Instances] = []
        for instances in self.network(images, plan.capacity):
            found.append(instances)
            if progress is not None:
                progress(len(found), len(tiles))
        border = max(1, math.ceil(1 / plan.zoom))
        return stitch(tiles, found, source.size, border)


def resized(instances: Instances, size: tuple[int, int]) -> Instances:
    """Instances of an image in another size of it, (height, width); what vanishes is left out."""
    if instances.image_size == size:
        return instances
    (height, width), (to_height, to_width) = instances.image_size, size
    y, x = to_height / height, to_width / width
    offsets, windows = [], []
    for (top, left), crop in zip(
        instances.pred_masks.offsets.tolist(), instances.pred_masks.crops, strict=True
    ):
        # pixels of the new size whose centres lie in the crop
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
