#!/usr/bin/env python3
"""Seconds an iteration and peak memory: nucdet's trainer against Detectron2's plain DefaultTrainer.

Same network, same pictures, same resize, crop and flips; each in a process of its own, one after
the other. What differs is the data road (reading, masks as label maps, targets cut from crops) and
the hooks (csv logs).

    python benchmarks/train_throughput.py [--dataset dsb2018_train] [--iterations 40] [KEY VALUE …]

``--profile`` prints instead what nucdet's iterations spend their time on, operation by operation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parent.parent / "configs" / "DSB2018" / "mask_rcnn_lite0_FPN.yaml"
TRAINERS = ("detectron2", "nucdet")
WARM_UP = 5


def measure(trainer_name: str, args: argparse.Namespace) -> dict[str, float]:
    """Train in this process; medians over the iterations after the warm-up."""
    import torch
    from detectron2.engine import DefaultTrainer, HookBase
    from detectron2.utils.env import seed_all_rng

    from nucdet.config import load_config
    from nucdet.data.datasets import register_datasets
    from nucdet.train.trainer import NucleusTrainer

    register_datasets()

    class PlainTrainer(DefaultTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return None

    class Collect(HookBase):
        def __init__(self):
            self.seconds, self.data_seconds, self.cpu_seconds = [], [], []

        def before_step(self):
            self.cpu_start = time.process_time()

        def after_step(self):
            latest = self.trainer.storage.latest()
            if "time" in latest and self.trainer.iter >= WARM_UP:
                self.seconds.append(latest["time"][0])
                self.data_seconds.append(latest["data_time"][0])
                self.cpu_seconds.append(time.process_time() - self.cpu_start)

    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(
            CONFIG,
            [
                "DATASETS.TRAIN", f"('{args.dataset}',)", "DATASETS.TEST", "()",
                "MODEL.WEIGHTS", "", "OUTPUT_DIR", folder,
                "SOLVER.MAX_ITER", str(args.iterations), "SOLVER.OPTIMIZER", "SGD",
                "MODEL.DEVICE", "cuda" if torch.cuda.is_available() else "cpu",
                # what both data roads understand
                "INPUT.RESIZE_RULE", "shortest_edge", "INPUT.RANDOM_FLIP", "horizontal",
                "INPUT.AUGMENTATION.SCALE_JITTER", "(1.0, 1.0)",
                "INPUT.AUGMENTATION.TURN_90", "False",
                "INPUT.AUGMENTATION.BRIGHTNESS", "0.0", "INPUT.AUGMENTATION.CONTRAST", "0.0",
                "DATALOADER.NUM_WORKERS", "0",
                *args.opts,
            ],
        )  # fmt: skip
        seed_all_rng(1)
        trainer = (PlainTrainer if trainer_name == "detectron2" else NucleusTrainer)(cfg)
        collect = Collect()
        trainer.register_hooks([collect])
        if args.profile:
            with torch.profiler.profile(record_shapes=True) as profile:
                trainer.train()
            by_shape = profile.key_averages(group_by_input_shape=True)
            for averages, rows in ((profile.key_averages(), 25), (by_shape, 30)):
                print(averages.table(sort_by="self_cpu_time_total", row_limit=rows))
        else:
            trainer.train()
    return {
        "seconds": statistics.median(collect.seconds),
        "cpu_seconds": statistics.median(collect.cpu_seconds),
        "data_seconds": statistics.median(collect.data_seconds),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="dsb2018_train")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1, help="alternating runs; the best counts")
    parser.add_argument("--only", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help="print nucdet's operations")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs")
    args = parser.parse_args()
    if args.profile:
        measure("nucdet", args)
        return
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return

    best: dict[str, dict[str, float]] = {}
    for _ in range(args.rounds):
        for name in TRAINERS:
            command = [sys.executable, __file__, "--only", name, *sys.argv[1:]]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = json.loads(result.stdout.splitlines()[-1])
            if name not in best or figures["seconds"] < best[name]["seconds"]:
                best[name] = figures
    print(f"{args.iterations} iterations, {os.cpu_count()} cores, median of an iteration")
    print(f"{'':12}{'s/iteration':>14}{'CPU s':>10}{'of it data':>12}{'peak GiB':>10}")
    for name, figures in best.items():
        print(
            f"{name:12}{figures['seconds']:14.3f}{figures['cpu_seconds']:10.3f}"
            f"{figures['data_seconds']:12.3f}{figures['peak_gib']:10.2f}"
        )
    ratio = best["nucdet"]["seconds"] / best["detectron2"]["seconds"]
    print(f"nucdet needs {ratio:.2f} times Detectron2's time an iteration")


if __name__ == "__main__":
    main()
