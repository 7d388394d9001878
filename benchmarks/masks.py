#!/usr/bin/env python3
"""Speed of masks: RLE vs. pycocotools, training targets vs. BitMasks, overlap elimination.

python benchmarks/masks.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import numpy as np
import torch
from detectron2.structures import BitMasks
from pycocotools import mask as pycoco

from nucdet.postprocessing.overlap import eliminate_overlaps
from nucdet.structures import CroppedMasks


def draw_ellipses(size: int, spacing: int, radius: float, seed: int = 0) -> CroppedMasks:
    """Ellipses on a jittered grid of a square image; with ``radius`` > spacing / 2 they overlap."""
    rng = np.random.default_rng(seed)
    offsets, windows = [], []
    reach = int(1.5 * radius) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for row in range(reach + spacing, size - reach - spacing, spacing):
        for column in range(reach + spacing, size - reach - spacing, spacing):
            a, b, angle = (*radius * rng.uniform(0.7, 1.4, 2), rng.uniform(0, np.pi))
            u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            windows.append((u / a) ** 2 + (v / b) ** 2 <= 1)
            offsets.append(np.array([row, column]) - reach + rng.integers(-2, 3, 2))
    return CroppedMasks.from_windows(np.array(offsets), windows, (size, size))


def best_of(function: Callable[[], object], repeats: int) -> float:
    """The time of the fastest run, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peak_mib(function: Callable[[], object]) -> float:
    """The peak of additional memory used by numpy and Python, in MiB."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def encode_one_by_one(labels: np.ndarray) -> list[bytes]:
    """COCO RLE in the usual way, encoding each mask as a separate image."""
    numbers = np.unique(labels[labels > 0])
    return [pycoco.encode(np.asfortranarray(labels == n, np.uint8))["counts"] for n in numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)

    labels = draw_ellipses(2000, 35, 14).to_label_map()
    ours = CroppedMasks.from_label_map(labels).to_coco_rle()
    theirs = encode_one_by_one(labels)
    assert [rle["counts"].encode() for rle in ours] == theirs, "bytes differ from pycocotools'"
    fast = best_of(lambda: CroppedMasks.from_label_map(labels).to_coco_rle(), repeats)
    slow = best_of(lambda: encode_one_by_one(labels), 1)
    print(f"COCO RLE of {len(ours)} nuclei of a 2000×2000 label map, equal bytes")
    print(f"  nucdet {fast:.3f} s, pycocotools mask by mask {slow:.2f} s: {slow / fast:.0f} times")

    masks = draw_ellipses(384, 48, 18)
    dense = BitMasks(torch.from_numpy(masks.to_dense()))
    index = torch.randint(len(masks), (512,), generator=torch.Generator().manual_seed(0))
    boxes = torch.from_numpy(masks.boxes)[index]
    fast = best_of(lambda: masks[index].crop_and_resize(boxes, 28), repeats)
    slow = best_of(lambda: dense[index].crop_and_resize(boxes, 28), repeats)
    print(f"training targets of 512 RoIs, {len(masks)} nuclei on 384×384")
    print(f"  nucdet {fast:.3f} s, BitMasks {slow:.3f} s: {slow / fast:.1f} times")

    crowd = draw_ellipses(2048, 43, 27)
    seconds = best_of(lambda: eliminate_overlaps(crowd), repeats)
    memory = peak_mib(lambda: eliminate_overlaps(crowd))
    print(f"overlap elimination of {len(crowd)} overlapping instances on 2048×2048")
    print(f"  {seconds:.3f} s, {memory:.0f} MiB over the inputs (dense: {len(crowd) * 4} MiB)")


if __name__ == "__main__":
    main()
