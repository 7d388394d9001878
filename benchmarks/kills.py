#!/usr/bin/env python
"""Kill prediction and training with SIGKILL at random moments, go on, and compare.

    python benchmarks/kills.py [--images 12] [--prediction-kills 6] [--training-kills 3]

Prediction: a folder of drawn images is predicted once without a kill; then again, killed and gone
on with ``--resume`` as often as asked, with one output cut short and one record damaged on the way.
Every file of the two output folders must have the same bytes. Training: a short run on drawn
images, killed and gone on with; losses.csv must have each iteration once. What differs ends in
exit code 1.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from nucdet.errors import InputError, run_tool

TRAINING = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


def run_killed(command: list[str], log: Path, seconds: float | None) -> bool:
    """Run a command and kill it after so many seconds; whether it was still running.

    Args:
        command: the tool with its arguments.
        log: gets what it prints, appended.
        seconds: None lets it end.

    Raises:
        InputError: the command failed by itself.
    """
    with log.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    if code:
        raise InputError(f"{' '.join(command)}: exit code {code}; see {log}")
    return False


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files, by their path in the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def damage(output: Path, rng: random.Random) -> None:
    """Cut one output short and one record, as a power failure may leave them."""
    for pattern in ("*_label.tif", ".records/*.json"):
        files = sorted(output.glob(pattern))
        if files:
            chosen = rng.choice(files)
            chosen.write_bytes(chosen.read_bytes()[: rng.choice((0, 10))])


def kill_prediction(args: argparse.Namespace, images: Path, rng: random.Random) -> list[object]:
    """One row: kills, images done after each, leftover temporary files, files that differ."""
    log = args.output / "prediction.txt"
    command = [sys.executable, "tools/predict.py", "--input", str(images), *args.predict_arguments]
    start = time.monotonic()
    run_killed([*command, "--output", str(args.output / "reference")], log, None)
    whole = time.monotonic() - start
    output = args.output / "killed"
    done = []
    while len(done) < args.prediction_kills:
        seconds = rng.uniform(0.3, 1.0) * whole
        if not run_killed([*command, "--output", str(output), "--resume"], log, seconds):
            # all was done before the kill: take some of it away
            for record in sorted(output.glob(".records/*.json"))[::2]:
                record.unlink()
            continue
        done.append(len(list(output.glob(".records/[!.]*.json"))))
        damage(output, rng)
    run_killed([*command, "--output", str(output), "--resume"], log, None)
    reference, resumed = contents(args.output / "reference"), contents(output)
    left = set(resumed) - set(reference)
    differ = sum(resumed.get(name) != content for name, content in reference.items())
    return ["prediction", len(done), done, len(reference), differ, len(left)]


def kill_training(args: argparse.Namespace, root: Path, rng: random.Random) -> list[object]:
    """One row: kills, rows of losses.csv after each, iterations, those wrong, leftover files."""
    output, log = args.output / "training", args.output / "training.txt"
    settings = {
        "SOLVER.MAX_ITER": args.iterations, "SOLVER.CHECKPOINT_PERIOD": 3, "TEST.EVAL_PERIOD": 0,
        "SOLVER.IMS_PER_BATCH": 2, "DATALOADER.NUM_WORKERS": 0, "DATASETS.TEST": "()",
        "OUTPUT_DIR": output,
    }  # fmt: skip
    pairs = [str(text) for pair in settings.items() for text in pair]
    command = [sys.executable, "tools/train_net.py", "--config-file", TRAINING, "--resume", *pairs]
    command = ["env", f"DETECTRON2_DATASETS={root}", *command]
    rows: list[int] = []
    while len(rows) < args.training_kills:
        if not run_killed(command, log, rng.uniform(*args.training_seconds)):
            raise InputError("training ended before the kills; give more --iterations")
        losses = output / "losses.csv"
        rows.append(losses.read_bytes().count(b"\n") - 1 if losses.is_file() else 0)
    run_killed(command, log, None)
    iterations = pd.read_csv(output / "losses.csv")["iteration"].tolist()
    wrong = len(set(range(args.iterations)) ^ set(iterations))
    wrong += len(iterations) - len(set(iterations))
    left = len(list(output.glob(".*")))
    return ["training", len(rows), rows, args.iterations, wrong, left]


def measure(args: argparse.Namespace) -> None:
    """Draw images, do both trials, print the table."""
    if args.output.exists():
        raise InputError(f"--output {args.output}: is there already; name a new folder")
    args.output.mkdir(parents=True)
    rng = random.Random(args.seed)
    root = args.output / "datasets"
    draw = [sys.executable, "tools/convert_dataset.py", "synthetic", "--root"]
    draw += [str(root / "synthetic"), "--images", str(args.images)]
    run_killed(draw, args.output / "drawing.txt", None)
    rows = []
    if args.prediction_kills:
        rows.append(kill_prediction(args, root / "synthetic" / "images", rng))
    if args.training_kills:
        rows.append(kill_training(args, root, rng))
    columns = ["trial", "kills", "done after each", "expected", "wrong", "left over"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.to_string(index=False))
    if table["wrong"].any():
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--output", type=Path, default=Path("output/kills"), help="a new folder")
    add("--images", type=int, default=12)
    add("--prediction-kills", type=int, default=6)
    add("--training-kills", type=int, default=3)
    add("--iterations", type=int, default=60, help="of the training")
    add("--training-seconds", type=float, nargs=2, default=(20, 40), help="from, to: till a kill")
    add("--seed", type=int, default=0)
    add("predict_arguments", nargs="*", help="of nucdet-predict, after --")
    args = parser.parse_args()
    run_tool(lambda: measure(args))


if __name__ == "__main__":
    main()
