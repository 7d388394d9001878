#!/usr/bin/env python
"""Time and memory of computing scores with nucdet and with other tools, on one thread.

    pip install nucdet[benchmark]      # the other tools; those that are missing are left out
    python benchmarks/evaluation.py [--group "Kaggle score"]

There are two synthetic cases: 65 small images as in DSB2018, and one of 2000×2000 pixels with 2,950
nuclei in the ground truth and 2,740 predicted ones. Each tool runs in a separate process and starts
from the same label images in memory. Matches at the ten thresholds t are counted with IoU >= t, as
in stardist and cellpose, and must be equal; COCO's AP must equal that of pycocotools.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import logging
import math
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

Pair = tuple[np.ndarray, np.ndarray]

SMALL_IMAGES = [(256, 256, 25)] * 40 + [(360, 360, 60)] * 15 + [(520, 696, 110)] * 10
DENSE_IMAGE = (2000, 2000, 2950)
CASES = ("65 small images", "2000×2000, 2,950 nuclei")
THRESHOLDS = [k / 20 for k in range(10, 20)]


# --- data


def make_case(case: str) -> list[Pair]:
    """Pairs of true and predicted label maps, (H, W) int32, identical in every process."""
    if case == CASES[0]:
        return [make_pair(*shape, seed) for seed, shape in enumerate(SMALL_IMAGES)]
    return [make_pair(*DENSE_IMAGE, seed=0)]


def make_pair(height: int, width: int, count: int, seed: int) -> Pair:
    """``count`` ellipses, and a prediction that moves, resizes, merges and drops some of them."""
    rng = np.random.default_rng(seed)
    columns = int(np.ceil(np.sqrt(count * width / height)))
    rows = int(np.ceil(count / columns))
    cell = np.array([width / columns, height / rows])
    places = np.stack([np.arange(count) % columns, np.arange(count) // columns], axis=1)
    centers = (places + 0.5) * cell + rng.normal(0, 0.05, (count, 2)) * cell
    axes = cell * rng.uniform(0.55, 0.9, (count, 2))
    angles = rng.uniform(0, 180, count)
    true = draw(height, width, np.arange(1, count + 1), centers, axes, angles)

    labels = np.arange(1, count + 1)
    merged = np.flatnonzero(rng.random(count) < 0.05)
    labels[merged] = np.maximum(labels[merged] - 1, 1)  # the neighbor's label
    kept = rng.random(count) > 0.03
    shift = rng.normal(0, 0.05, (count, 2)) * cell
    scale = rng.normal(1, 0.08, (count, 2)).clip(0.3, 1.3)
    pred = draw(
        height, width, labels[kept], (centers + shift)[kept], (axes * scale)[kept], angles[kept]
    )
    return true, pred


def draw(height, width, labels, centers, axes, angles) -> np.ndarray:
    image = np.zeros((height, width), np.int32)
    for label, center, axis, angle in zip(labels, centers, axes, angles, strict=True):
        cv2.ellipse(image, (center.tolist(), axis.tolist(), float(angle)), int(label), -1)
    return image


# --- tools: each returns a function to time and one whose result is checked; neither imports


def nucdet_score() -> tuple[Callable, Callable]:
    from nucdet.evaluation.matching import TWENTIETHS, Intersections, match, match_pairs

    def score(pairs: list[Pair]) -> float:
        return np.mean([match(Intersections.of_label_maps(*pair)).score for pair in pairs])

    def matches(pairs: list[Pair], result: float) -> list[int]:
        total = np.zeros(len(TWENTIETHS), int)
        for found in (Intersections.of_label_maps(*pair) for pair in pairs):
            for i, k in enumerate(TWENTIETHS):
                near = 20 * found.pixels >= k * found.unions
                counts = (len(found.true_areas), len(found.pred_areas))
                total[i] += len(match_pairs(found.true[near], found.pred[near], *counts)[0])
        return total.tolist()

    return score, matches


def stardist_score() -> tuple[Callable, Callable]:
    from stardist.matching import matching

    def score(pairs: list[Pair]) -> list:
        return [matching(*pair, thresh=THRESHOLDS) for pair in pairs]

    def matches(pairs: list[Pair], result: list) -> list[int]:
        return np.sum([[stats.tp for stats in image] for image in result], axis=0).tolist()

    return score, matches


def cellpose_score() -> tuple[Callable, Callable]:
    from cellpose.metrics import average_precision

    def score(pairs: list[Pair]) -> tuple:
        return average_precision([t for t, _ in pairs], [p for _, p in pairs], THRESHOLDS)

    def matches(pairs: list[Pair], result: tuple) -> list[int]:
        return result[1].sum(axis=0).astype(int).tolist()

    return score, matches


def nucdet_coco() -> tuple[Callable, Callable]:
    import torch
    from detectron2.data import MetadataCatalog
    from detectron2.structures import Boxes, Instances

    from nucdet.evaluation.coco import DenseCOCOEvaluator
    from nucdet.structures import CroppedMasks

    def output_of(labels: np.ndarray) -> dict:
        masks = CroppedMasks.from_label_map(labels)
        instances = Instances(labels.shape, pred_masks=masks)
        instances.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
        instances.scores = torch.ones(len(masks))
        instances.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
        return {"instances": instances}

    def score(pairs: list[Pair]) -> float:
        truth = [CroppedMasks.from_label_map(true) for true, _ in pairs]
        segmentations = [(m.to_coco_rle(), m.areas, m.boxes) for m in truth]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "truth.json"
            path.write_text(json.dumps(coco_dataset(pairs, segmentations)))
            MetadataCatalog.get("benchmark_val").set(json_file=str(path))
            evaluator = DenseCOCOEvaluator("benchmark_val", max_dets_per_image=3000)
            evaluator.reset()
            for image_id, (_, pred) in enumerate(pairs, 1):
                evaluator.process([{"image_id": image_id}], [output_of(pred)])
            results = evaluator.evaluate()
        MetadataCatalog.remove("benchmark_val")
        return results["segm"]["AP"]

    return score, lambda pairs, result: round(result, 6)


def pycocotools_coco() -> tuple[Callable, Callable]:
    from detectron2.evaluation.coco_evaluation import COCOevalMaxDets
    from pycocotools import mask as mask_util
    from pycocotools.coco import COCO

    def encode(labels: np.ndarray) -> tuple:
        values = np.unique(labels)[1:]
        labels = np.asfortranarray(labels)  # required by encode; done once for all masks
        rles = [mask_util.encode((labels == v).view(np.uint8)) for v in values]
        return rles, [mask_util.area(r) for r in rles], [mask_util.toBbox(r) for r in rles]

    def score(pairs: list[Pair]) -> float:
        truth = COCO()
        truth.dataset = coco_dataset(pairs, [encode(true) for true, _ in pairs])
        truth.createIndex()
        found = [
            {"image_id": i, "category_id": 1, "score": 1.0, "segmentation": rle}
            for i, (_, pred) in enumerate(pairs, 1)
            for rle in encode(pred)[0]
        ]
        evaluation = COCOevalMaxDets(truth, truth.loadRes(found), "segm")
        evaluation.params.maxDets = [1, 10, 3000]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return 100 * evaluation.stats[0]

    return score, lambda pairs, result: round(float(result), 6)


def coco_dataset(pairs: list[Pair], masks: list[tuple]) -> dict:
    """The content of a COCO JSON; ``masks`` contains the RLEs, areas and boxes of each image."""
    images = [
        {"id": i, "file_name": f"{i}.png", "height": true.shape[0], "width": true.shape[1]}
        for i, (true, _) in enumerate(pairs, 1)
    ]
    annotations = [
        {"image_id": i, "category_id": 1, "iscrowd": 0, "segmentation": rle, "area": int(area)}
        | {"bbox": np.asarray(box).tolist()}
        for i, (rles, areas, boxes) in enumerate(masks, 1)
        for rle, area, box in zip(rles, areas, boxes, strict=True)
    ]
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    categories = [{"id": 1, "name": "nucleus"}]
    return {"images": images, "annotations": annotations, "categories": categories}


GROUPS = {
    "Kaggle score": {
        "nucdet": nucdet_score,
        "stardist.matching": stardist_score,
        "cellpose.metrics": cellpose_score,
    },
    "COCO AP": {"nucdet": nucdet_coco, "pycocotools": pycocotools_coco},
}


# --- measuring


def measure(group: str, tool: str, case: str, repeats: int) -> tuple[float, float, object] | None:
    """Best time in seconds, increase of memory in MB, and the result to be checked."""
    logging.disable()
    if hasattr(os, "sched_setaffinity"):
        # the COCO engine starts its own threads, regardless of the environment variables
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            run, check = GROUPS[group][tool]()
        except ImportError:
            return None
        run([make_pair(64, 64, 9, seed=1)])  # warm-up: compilation and first allocations
        pairs = make_case(case)
        before = resident_memory(reset_peak=True)
        times = []
        while len(times) < repeats and sum(times) < 10:
            start = time.perf_counter()
            result = run(pairs)
            times.append(time.perf_counter() - start)
            if len(times) == 1:
                peak = resident_memory()
    return min(times), peak - before, check(pairs, result)


def resident_memory(reset_peak: bool = False) -> float:
    """Peak resident memory of this process since the last reset, in MB; NaN except on Linux."""
    try:
        if reset_peak:
            # memory that was freed but not returned to the system would hide new allocations
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except (OSError, AttributeError, TypeError):
        return math.nan
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def machine() -> str:
    with contextlib.suppress(OSError, IndexError):
        return Path("/proc/cpuinfo").read_text().split("model name\t: ")[1].splitlines()[0]
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="runs, of which the best counts")
    parser.add_argument("--group", choices=GROUPS, help="only this one; COCO AP takes minutes")
    args = parser.parse_args()
    print(f"{machine()}, one thread, Python {platform.python_version()}")
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    for case in CASES:
        for group, tools in GROUPS.items():
            if args.group not in (None, group):
                continue
            print(f"\n{group}, {case}\n{'':20}{'seconds':>10}{'times ours':>12}{'MB':>8}  result")
            ours = None
            for tool in tools:
                with ProcessPoolExecutor(1, mp_context=context) as process:
                    measured = process.submit(measure, group, tool, case, args.repeats).result()
                if measured is None:
                    print(f"{tool:20}{'not installed':>22}")
                    continue
                seconds, megabytes, result = measured
                ours = ours or measured
                ratio = seconds / ours[0]
                print(f"{tool:20}{seconds:10.4f}{ratio:12.1f}{megabytes:8.1f}  {result}")
                if result != ours[2]:
                    raise SystemExit(f"error: {tool} and nucdet differ: {result}, {ours[2]}")


if __name__ == "__main__":
    main()
