#!/usr/bin/env python3
"""Time and peak memory of training on, and predicting, the densest image of a data set.

    python benchmarks/dense_training.py --dataset livecell_test [--config FILE] [KEY VALUE …]
    python benchmarks/dense_training.py --cells 2500    # a synthetic image of LIVECell's size

Each row is measured in a separate process; "CPU" is the CPU time of all its threads. Weights are
random and the score threshold is 0, so that the prediction has as many instances as possible, which
is its worst case.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nucdet.arguments import command_parser
from nucdet.config import load_config
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.errors import run_tool

CONFIG = Path(__file__).parent.parent / "configs" / "LIVECell" / "mask_rcnn_lite0_FPN.yaml"
PHASES = ("nothing", "training", "prediction")
ROUNDS = 3


def measure(phase: str, args: argparse.Namespace) -> dict[str, float]:
    """Times of the fastest of ROUNDS rounds, and the peak memory of this process."""
    import torch
    from detectron2.data import DatasetCatalog
    from detectron2.modeling import build_model
    from detectron2.utils.env import seed_all_rng
    from detectron2.utils.events import EventStorage

    from nucdet.data.mapper import NucleusDatasetMapper

    register_datasets()
    settings = ["MODEL.WEIGHTS", "", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", *args.opts]
    cfg = load_config(args.config, settings)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    record = max(DatasetCatalog.get(args.dataset), key=lambda r: len(r["annotations"]))
    seed_all_rng(0)
    model = build_model(cfg)
    figures = {"instances": len(record["annotations"])}
    training = phase == "training"
    mapper = NucleusDatasetMapper(cfg, augment=training)
    model.train(training)
    times = []
    with EventStorage(), torch.set_grad_enabled(training):
        for _ in range(0 if phase == "nothing" else ROUNDS):
            start = time.perf_counter(), time.process_time()
            if training:
                batch = [mapper(record) for _ in range(cfg.SOLVER.IMS_PER_BATCH)]
                figures["instances"] = max(len(inputs["instances"]) for inputs in batch)
                sum(model(batch).values()).backward()
                model.zero_grad()
            else:
                figures["instances"] = len(model([mapper(record)])[0]["instances"])
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    figures["seconds"], figures["cpu"] = min(times, default=(0.0, 0.0))
    figures["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        figures["gib"] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def draw_image(folder: str, cells: int) -> None:
    """Convert a synthetic data set of one image, which becomes livecell_train in the catalog."""
    from livecell_conversion import draw_release

    from nucdet.data.conversion.livecell import convert_livecell

    draw_release(Path(folder) / "livecell", 1, cells)
    convert_livecell(Path(folder) / "livecell")
    os.environ["DETECTRON2_DATASETS"] = folder


def main() -> None:
    parser = command_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", help="name of a data set in the catalog")
    source.add_argument("--cells", type=int, help="number of cells in a synthetic image")
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs")
    args = parser.parse_args()
    if args.phase:
        print(json.dumps(measure(args.phase, args)))
        return
    load_config(args.config, args.opts)  # report mistakes before any process starts
    if args.dataset:
        register_datasets()
        check_datasets([args.dataset])
    with tempfile.TemporaryDirectory() as folder:
        if args.cells:
            draw_image(folder, args.cells)
        dataset = args.dataset or "livecell_train"
        print(f"{'':12}{'instances':>10}{'seconds':>10}{'CPU':>10}{'peak GiB':>10}")
        for phase in PHASES:
            command = [sys.executable, __file__, "--dataset", dataset, "--config", args.config]
            command += ["--phase", phase, *args.opts]
            result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(result.stdout.splitlines()[-1])
            numbers = "".join(f"{found[key]:10.2f}" for key in ("seconds", "cpu", "gib"))
            print(f"{phase:12}{found['instances']:10}{numbers}", flush=True)


if __name__ == "__main__":
    run_tool(main)
