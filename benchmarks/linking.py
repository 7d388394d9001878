#!/usr/bin/env python
"""How well nuclei are joined in depth and followed in time (``--link``), on drawn stacks and films.

    OMP_NUM_THREADS=1 python benchmarks/linking.py [--config-file FILE] [KEY VALUE …]

A stack has 30 depths of 256 × 256 pixels with ellipsoids that may touch but not overlap, out of
focus by a Gaussian of 1.5 depths and 1 pixel. A film has 20 times of nuclei that walk at random
without running into each other. Each plane is predicted by itself, and the masks are linked by
:class:`nucdet.predict.linking.PlaneLinks`, and for comparison stitched where their IoU with a mask
of the plane before exceeds 1/4, as cellpose's ``stitch_threshold`` does. A nucleus counts as found
if the IoU of the whole nucleus, over all of its planes, exceeds 0.5. "Drawn" masks are those of the
drawing, without errors of the network.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from markdown_tables import table
from scipy import ndimage

from nucdet.arguments import command_parser
from nucdet.data.io.choice import Place
from nucdet.errors import run_tool
from nucdet.evaluation.matching import Intersections
from nucdet.predict import Segmenter
from nucdet.predict.linking import PlaneLinks
from nucdet.structures import CroppedMasks

SIDE = 256
DEPTHS, TIMES = 30, 20
# half axes, pixels, and thickness as a share of their mean, in depths of a pixel's length each
RADII, FLATNESS = (9, 14), (0.3, 0.5)
# nuclei of each stack, and the step of each film's nuclei as a share of their diameter
CROWDS = (60, 120, 200)
STEPS = (0.1, 0.2, 0.3)
NUCLEI_OF_A_FILM = 60


def ellipse(center: np.ndarray, axes: np.ndarray, turn: float) -> np.ndarray:
    """(SIDE, SIDE): squared distance from the center (y, x), relative to the outline."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.reshape(center, (2, 1, 1))
    across, along = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return (across / axes[0]) ** 2 + (along / axes[1]) ** 2


def draw_stack(random: np.random.Generator, nuclei: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and image, (DEPTHS, SIDE, SIDE), int32 and uint8."""
    labels = np.zeros((DEPTHS, SIDE, SIDE), np.int32)
    light = np.zeros(labels.shape, np.float32)
    depths = np.arange(DEPTHS).reshape(-1, 1, 1)
    for _ in range(30 * nuclei):
        z, *center = random.uniform(0, labels.shape)
        axes = random.uniform(*RADII, 2)
        half = axes.mean() * random.uniform(*FLATNESS)
        inside = ellipse(center, axes, random.uniform(0, np.pi)) + ((depths - z) / half) ** 2 < 1
        if inside.any() and not labels[inside].any():
            labels[inside] = labels.max() + 1
            light[inside] = random.uniform(0.5, 1)
        if labels.max() == nuclei:
            break
    return labels, photograph(random, light, (1.5, 1, 1))


def draw_film(random: np.random.Generator, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and image, (TIMES, SIDE, SIDE), int32 and uint8."""
    labels = np.zeros((TIMES, SIDE, SIDE), np.int32)
    light = np.zeros(labels.shape, np.float32)
    plane, nuclei = labels[0].copy(), []
    for _ in range(30 * NUCLEI_OF_A_FILM):
        center, axes = random.uniform(0, SIDE, 2), random.uniform(*RADII, 2)
        turn, brightness = random.uniform(0, np.pi), random.uniform(0.5, 1)
        inside = ellipse(center, axes, turn) < 1
        if len(nuclei) < NUCLEI_OF_A_FILM and not plane[inside].any():
            nuclei.append((center, axes, turn, brightness))
            plane[inside] = len(nuclei)
    for time in range(TIMES):
        for number, (center, axes, turn, brightness) in enumerate(nuclei, 1):
            moved = center + random.normal(0, step * 2 * axes.mean() / np.sqrt(2), 2)
            moved = np.clip(moved, 0, SIDE)
            inside = ellipse(moved, axes, turn) < 1
            # it waits where another one is in its way
            if time and np.isin(plane[inside], (0, number)).all():
                plane[plane == number] = 0
                plane[inside] = number
                nuclei[number - 1] = (moved, axes, turn, brightness)
        labels[time] = plane
        light[time] = np.append(0, [brightness for *_, brightness in nuclei])[plane]
    return labels, photograph(random, light, (0, 1, 1))


def photograph(
    random: np.random.Generator, light: np.ndarray, blur: tuple[float, float, float]
) -> np.ndarray:
    """The planes as uint8, out of focus and with noise."""
    seen = ndimage.gaussian_filter(light, blur)
    noisy = random.poisson(10 + 120 * seen) + random.normal(0, 4, seen.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def linked(planes: np.ndarray, kind: str) -> np.ndarray:
    """Label maps (N, H, W) of planes with the numbers of nucdet; ``kind`` is "stack" or "film"."""
    links = PlaneLinks("z" if kind == "stack" else "time")
    result = np.zeros_like(planes)
    for i, plane in enumerate(planes):
        masks = CroppedMasks.from_label_map(plane)
        place = Place(z=i) if kind == "stack" else Place(time=i)
        result[i] = masks.to_label_map(links.number(masks, place))
    return result


def stitched(planes: np.ndarray, kind: str) -> np.ndarray:
    """As :func:`linked`, by the IoU alone."""
    result = np.zeros_like(planes)
    count = 0
    for i, plane in enumerate(planes):
        before = result[max(0, i - 1)]
        pairs = Intersections.of_label_maps(before, plane)
        ious = pairs.pixels / pairs.unions
        old, new = np.unique(before[before > 0]), np.unique(plane[plane > 0])
        numbers = np.zeros(len(new), int)
        for pair in np.argsort(-ious):
            number = old[pairs.true[pair]]
            if ious[pair] > 0.25 and not numbers[pairs.pred[pair]] and number not in numbers:
                numbers[pairs.pred[pair]] = number
        fresh = numbers == 0
        numbers[fresh] = count + 1 + np.arange(np.count_nonzero(fresh))
        count = max(count, numbers.max(initial=0))
        result[i] = CroppedMasks.from_label_map(plane).to_label_map(numbers)
    return result


def scores(true: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Bias of the count, %, and the F1 score, %, of whole nuclei."""
    pairs = Intersections.of_label_maps(true.reshape(1, -1), found.reshape(1, -1))
    nuclei, numbers = len(pairs.true_areas), len(pairs.pred_areas)
    both = np.count_nonzero(pairs.pairs_above(1, 2))
    return {"count": 100 * (numbers / nuclei - 1), "F1": 200 * both / (nuclei + numbers)}


def rows(segmenter: Segmenter, seeds: int) -> Iterator[dict]:
    """The scores of each drawn stack and film linked and stitched."""
    scenes = [("stack", f"{count} nuclei", draw_stack, count) for count in CROWDS]
    scenes += [("film", f"steps of {step} diameters", draw_film, step) for step in STEPS]
    for kind, what, draw, amount in scenes:
        for seed in range(seeds):
            true, image = draw(np.random.default_rng(seed), amount)
            found = np.stack([segmenter.predict(plane).label_map() for plane in image])
            for masks, planes in (("drawn", true), ("predicted", found)):
                for how in (linked, stitched):
                    where = {"of": kind, "what": what, "masks": masks, "how": how.__name__}
                    yield where | scores(true, how(planes, kind))


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument("--seeds", type=int, default=3, help="stacks and films of each kind")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config file")
    args = parser.parse_args()

    segmenter = Segmenter(args.config_file, overrides=args.opts)
    every = pd.DataFrame(rows(segmenter, args.seeds))
    means = every.groupby(["of", "what", "masks", "how"], sort=False).mean().reset_index()
    cells = ([*row[:4], f"{row[4]:+.0f}", f"{row[5]:.0f}"] for row in means.itertuples(index=False))
    print(table(["of", "what", "masks", "how", "count bias %", "F1 %"], cells))


if __name__ == "__main__":
    run_tool(main)
