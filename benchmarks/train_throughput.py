#!/usr/bin/env python3
"""Time per iteration and peak memory of this code, an older commit and Detectron2's DefaultTrainer.

    python benchmarks/train_throughput.py [--config-file FILE] [--against COMMIT] [KEY VALUE …]

Each of them trains the same network on the same data set, in separate processes, one after the
other. The older commit is unpacked into a temporary folder and reads its own config of that name,
or this one if it has none; if it cannot train the config, the table says why. nucdet follows the
config, with its augmentations. Detectron2 reads, resizes, crops and flips with its own mapper,
except for networks other than R-CNNs, for which it cannot make the targets and uses nucdet's. On a
CPU it computes in float32.

``--profile`` instead prints the time that each operation takes in the iterations of this code.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = REPOSITORY / "configs/DSB2018/mask_rcnn_lite0_FPN_robust.yaml"
TRAINERS = ("detectron2", "nucdet")
# the state before training and prediction were made faster
AGAINST = "155d00b"
WARM_UP = 5
# key of a measurement: width of its column
COLUMNS = {"seconds": 9, "cpu_seconds": 9, "data_seconds": 12, "peak_gib": 10, "loss": 9}


def measure(trainer_name: str, args: argparse.Namespace) -> dict[str, float]:
    """Train in this process, and return medians over the iterations after the warm-up."""
    import torch
    from detectron2.engine import HookBase
    from detectron2.utils.env import seed_all_rng

    from nucdet.data.datasets import register_datasets
    from nucdet.modeling.checkpointing import NucleusCheckpointer

    register_datasets()

    class Collect(HookBase):
        def __init__(self):
            self.seconds, self.data_seconds, self.cpu_seconds, self.losses = [], [], [], []

        def before_step(self):
            self.cpu_start = time.process_time()

        def after_step(self):
            latest = self.trainer.storage.latest()
            self.losses.append(latest["total_loss"][0])
            if "time" in latest and self.trainer.iter >= WARM_UP:
                self.seconds.append(latest["time"][0])
                self.data_seconds.append(latest["data_time"][0])
                self.cpu_seconds.append(time.process_time() - self.cpu_start)

    is_plain = trainer_name == "detectron2"
    with tempfile.TemporaryDirectory() as folder:
        cfg = _config(args, folder, is_plain)
        seed_all_rng(args.seed)
        trainer = (_plain_trainer(cfg) if is_plain else _nucleus_trainer())(cfg)
        trainer.checkpointer = NucleusCheckpointer(trainer.model, folder)
        trainer.resume_or_load(resume=False)
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
        "loss": statistics.mean(collect.losses[-max(1, len(collect.losses) // 4) :]),
    }


def _config(args: argparse.Namespace, folder: str, is_plain: bool) -> Any:
    """The config of the command line; if ``is_plain``, without what Detectron2 does not support."""
    import torch

    from nucdet.config import load_config

    weights = load_config(args.config_file).MODEL.WEIGHTS
    overrides = [
        "DATASETS.TRAIN", f"('{args.dataset}',)", "DATASETS.TEST", "()", "OUTPUT_DIR", folder,
        "MODEL.WEIGHTS", weights if weights.startswith("imagenet://") else "",
        "MODEL.DEVICE", "cuda" if torch.cuda.is_available() else "cpu",
        "SOLVER.MAX_ITER", str(args.iterations), "DATALOADER.NUM_WORKERS", "0", *args.opts,
    ]  # fmt: skip
    if is_plain:
        overrides += ["INPUT.RANDOM_FLIP", "horizontal"]  # Detectron2 has no "both"
    if is_plain and not torch.cuda.is_available():
        overrides += ["SOLVER.AMP.ENABLED", "False"]  # Detectron2 supports it only on GPUs
    return load_config(args.config_file, overrides)


def _nucleus_trainer() -> type:
    import nucdet

    # an older commit has the trainer in nucdet.engine; importing nucdet.train there could find this
    # commit's module in an editable install
    has_room = (Path(nucdet.__file__).parent / "train").is_dir()
    module = importlib.import_module(f"nucdet.{'train' if has_room else 'engine'}.trainer")
    return module.NucleusTrainer


def _plain_trainer(cfg: Any) -> type:
    """Detectron2's trainer without evaluation, and with nucdet's loader for non-R-CNN networks."""
    from detectron2.engine import DefaultTrainer

    class PlainTrainer(DefaultTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return None

    if "RCNN" not in cfg.MODEL.META_ARCHITECTURE:
        PlainTrainer.build_train_loader = _nucleus_trainer().build_train_loader
    return PlainTrainer


def unpack(commit: str, folder: Path) -> None:
    """Extract the files of a commit of this repository into an empty folder.

    Raises:
        SystemExit: git is missing or does not know the commit, or this is not a git checkout.
    """
    command = ["git", "-C", str(REPOSITORY), "archive", "--format=tar", commit]
    try:
        archive = subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError:
        raise SystemExit("error: --against needs git, which is not installed") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip().splitlines()[-1]
        raise SystemExit(f"error: --against {commit}: {reason}; name a commit of it") from None
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def run(name: str, checkout: Path, args: argparse.Namespace) -> dict[str, float] | str:
    """Measure in a process that imports nucdet from a checkout.

    Returns:
        The measurements, or the last line of the error if it failed.
    """
    config_file = args.config_file
    if config_file.is_relative_to(REPOSITORY):
        # because the keys of a config may have other names in another commit
        own = checkout / config_file.relative_to(REPOSITORY)
        config_file = own if own.is_file() else config_file
    command = [sys.executable, __file__, "--only", name, "--config-file", str(config_file)]
    command += ["--dataset", args.dataset, "--iterations", str(args.iterations)]
    command += ["--seed", str(args.seed), *args.opts]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def compare(args: argparse.Namespace, older: Path) -> dict[str, dict[str, float] | str]:
    """The best measurements of all rounds, for each row of the table."""
    rows = {
        "Detectron2": ("detectron2", REPOSITORY),
        f"nucdet {args.against}": ("nucdet", older),
        "nucdet here": ("nucdet", REPOSITORY),
    }
    best: dict[str, dict[str, float] | str] = {}
    for _ in range(args.rounds):
        for row, (name, checkout) in rows.items():
            found = run(name, checkout, args)
            before = best.get(row)
            if isinstance(found, str) or isinstance(before, str):
                best[row] = found if isinstance(found, str) else before
            elif before is None or found["cpu_seconds"] < before["cpu_seconds"]:
                best[row] = found
    return best


def print_table(best: dict[str, dict[str, float] | str]) -> None:
    """Print one row per trainer, and how much more CPU time the others need than this code."""
    print(f"{'':20}{'s':>9}{'CPU s':>9}{'of it data':>12}{'peak GiB':>10}{'loss':>9}")
    for row, found in best.items():
        if isinstance(found, str):
            print(f"{row:20}cannot train this: {found}")
        else:
            print(f"{row:20}" + "".join(f"{found[key]:{w}.3f}" for key, w in COLUMNS.items()))
    here = best["nucdet here"]
    for row, found in best.items():
        if found is not here and isinstance(found, dict) and isinstance(here, dict):
            ratio = found["cpu_seconds"] / here["cpu_seconds"]
            print(f"{row} needs {ratio:.2f} times the CPU seconds of nucdet here")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, default=CONFIG, metavar="FILE")
    parser.add_argument("--against", default=AGAINST, metavar="COMMIT", help="an older nucdet")
    parser.add_argument("--dataset", default="dsb2018_train")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1, help="alternating runs; the best counts")
    parser.add_argument("--seed", type=int, default=1, help="random seed of weights and data order")
    parser.add_argument("--only", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help="print nucdet's operations")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs")
    args = parser.parse_args()
    if args.iterations <= WARM_UP:
        parser.error(f"--iterations is {args.iterations}, expected more than the {WARM_UP} unused")
    if not args.config_file.is_file():
        parser.error(f"--config-file {args.config_file}: no such file")
    args.config_file = args.config_file.resolve()
    if args.profile:
        measure("nucdet", args)
        return
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return

    with tempfile.TemporaryDirectory() as folder:
        unpack(args.against, Path(folder))
        best = compare(args, Path(folder))
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    print(f"{args.config_file.stem}: {args.iterations} iterations, {threads} threads;")
    print("medians of an iteration, and the mean loss of the last quarter")
    print_table(best)
    raise SystemExit(isinstance(best["nucdet here"], str))


if __name__ == "__main__":
    main()
