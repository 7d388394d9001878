"""Finds the nuclei of opened images; prediction and evaluation share this code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from detectron2.config import CfgNode
from detectron2.structures import Instances

from nucdet.config_checks import fixed_side
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError
from nucdet.modeling.familiarity import Seen
from nucdet.predict.joining import join_tiles
from nucdet.predict.network import Network, NetworkOutput
from nucdet.predict.options import check_diameter
from nucdet.predict.planning import Plan, plan_tiles

Sizes = Sequence[tuple[int, int]]


class Found(NamedTuple):
    """The nuclei of an image before overlap elimination, in the image's pixels, on the CPU."""

    instances: Instances  # masks as CroppedMasks, none empty
    plan: Plan
    seen: list[Seen]  # encoder features of each tile; empty for networks without an encoder


class Finder:
    """Finds the nuclei of images: plans zoom and tiles, runs the network, joins the tiles.

    Example::

        found = Finder(cfg, Network.load(cfg))([open_windows("image.tif")])
        nuclei = OverlapElimination(cfg)(found[0].instances)
    """

    def __init__(self, cfg: CfgNode, network: Network):
        """
        Args:
            cfg: the config of the network.
            network: the network that finds nuclei.
        """
        self.network = network
        self._cfg = cfg
        self._trained_diameter = cfg.TEST.NUCLEUS_DIAMETER
        self._usual_diameter = usual_diameter(cfg)

    def __call__(
        self,
        sources: Sequence[ImageWindows],
        diameter: float | str | None = None,
        progress: Callable[[int, int], None] | None = None,
        sizes: Sizes | None = None,
    ) -> list[Found]:
        """Find the nuclei of images; on a GPU, images of equal size are predicted in batches.

        Args:
            sources: the images.
            diameter: diameter of the nuclei in pixels of the image, which is rescaled so that they
                are as large as in training. "auto": estimated from a first prediction. None: "auto"
                if INPUT.RESIZE_RULE is "diameter", else resized by INPUT.MIN_SIZE_TEST.
            progress: called as ``progress(tiles done, tiles)`` for images with several tiles.
            sizes: for each image the (height, width) in whose pixels its result is given; None:
                the images' own sizes.

        Raises:
            InputError: a file is damaged, the diameter is not valid, or see :func:`check_rescaled`.
        """
        check_diameter(diameter)
        check_rescaled(self._cfg, diameter)
        sizes = [source.size for source in sources] if sizes is None else sizes
        plans = [self.plan(source, diameter) for source in sources]
        found = predict_tiles(self.network, sources, plans, sizes, progress)
        return [
            _joined(source, plan, outputs, size)
            for source, plan, outputs, size in zip(sources, plans, found, sizes, strict=True)
        ]

    def plan(self, source: ImageWindows, diameter: float | str | None = None) -> Plan:
        """Choose the zoom and tiles of one image; arguments as for :meth:`__call__`."""
        diameter = self._usual_diameter if diameter is None else diameter
        return plan_tiles(self.network, source, self._trained_diameter, diameter)


def usual_diameter(cfg: CfgNode) -> str | None:
    """The default diameter: "auto" if the network was trained on nuclei of one size, else None."""
    return "auto" if cfg.INPUT.RESIZE_RULE == "diameter" else None


def check_rescaled(cfg: CfgNode, diameter: float | str | None) -> None:
    """Raise InputError for a diameter that a network of a config would not notice."""
    side = fixed_side(cfg)
    if side and diameter is not None:
        raise InputError(
            f"diameter is {diameter}, but MODEL.SEMANTIC.RESIZE of the config shows the network "
            f"every image at {side} × {side} pixels, however large its nuclei are; leave the "
            "diameter out"
        )


def predict_tiles(
    network: Network,
    sources: Sequence[ImageWindows],
    plans: Sequence[Plan],
    sizes: Sizes,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[NetworkOutput]]:
    """Run the network on each tile of each image.

    Args:
        network: the network that finds nuclei.
        sources: the images.
        plans: one for each image.
        sizes: (height, width) for each image; if the image is a single tile, its nuclei are given
            in pixels of this size.
        progress: see :meth:`Finder.__call__`.

    Returns:
        For each image a list with the network's output for each of its tiles.
    """
    results: list[list[NetworkOutput]] = [[] for _ in sources]
    for source, plan, size, outputs in zip(sources, plans, sizes, results, strict=True):
        if plan.output is not None and size == source.size:
            outputs.append(plan.output)
    whole = [i for i, plan in enumerate(plans) if len(plan.tiles) == 1 and not results[i]]
    whole.sort(key=lambda i: (plans[i].capacity, sources[i].size, plans[i].zoom))
    for capacity, group in groupby(whole, lambda i: plans[i].capacity):
        numbers = list(group)
        images = ((sources[i].read(sources[i].whole()), plans[i].zoom, sizes[i]) for i in numbers)
        for i, output in zip(numbers, network(images, capacity), strict=True):
            results[i].append(output)
    for source, plan, outputs in zip(sources, plans, results, strict=True):
        if len(plan.tiles) > 1:
            images = ((source.read(tile.box), plan.zoom) for tile in plan.tiles)
            for output in network(images, plan.capacity):
                outputs.append(output)
                if progress is not None:
                    progress(len(outputs), len(plan.tiles))
    return results


def _joined(
    source: ImageWindows, plan: Plan, outputs: Sequence[NetworkOutput], size: tuple[int, int]
) -> Found:
    nuclei = join_tiles(plan, [output.instances for output in outputs], source.size, size)
    return Found(nuclei, plan, [output.seen for output in outputs if output.seen is not None])
