#!/usr/bin/env python
"""Kill tools with SIGKILL while they work, or fill their disk; then continue, and check results.

    python benchmarks/kills.py [--kills 4] [--only prediction,training]

conversion      converts a data set again with another seed, killed while it writes: the files that
                registration accepts must be from the same conversion, and the last run must produce
                the same bytes as a run that was never killed.
prediction      predicts a folder of synthetic images with --resume; after each kill one output is
                truncated and one record damaged. The final bytes must be those of a run that was
                never killed.
processes       the same with two processes.
tiles           the same with one TIFF that is predicted in tiles.
training        with --resume: losses.csv must contain each iteration once, and at most three
                checkpoints may remain.
search, folds   a search of two settings, a cross-validation of two folds, started again: all
                trainings must be done and contain each iteration once.
disk            conversion, prediction and training on a small tmpfs that fills up: they must end
                with one line and exit code 2 and leave no half-written files; with more space they
                must continue. Needs root.

After each kill of the first process, its workers must be gone within 5 s. The table counts errors;
if there are any, the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from full_disk import fill_disk
from kill_trials import (
    Result,
    Trial,
    kill_conversion,
    kill_folds,
    kill_prediction,
    kill_processes,
    kill_search,
    kill_tiles,
    kill_training,
)
from killing import Runner

from nucdet.arguments import command_parser
from nucdet.errors import InputError, run_tool

_SIDE = 128  # pixels of a drawn image
_SURVIVAL = 5.0  # seconds


def draw_images(data: Path, count: int) -> None:
    """Write images of disks on a dark background, in Kaggle's layout and in a plain folder."""
    rng = np.random.default_rng(0)
    (data / "images").mkdir(parents=True)
    for index in range(count):
        name = f"drawn{index:03d}"
        folder = data / "dsb2018" / "stage1_train" / name
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        image = rng.integers(5, 20, (_SIDE, _SIDE), np.uint8)
        for number in range(9):
            center = [20 + 44 * (number % 3), 20 + 44 * (number // 3)]
            place = [int(value) for value in center + rng.integers(-5, 6, 2)]
            mask = cv2.circle(np.zeros_like(image), place, int(rng.integers(7, 14)), 255, -1)
            image[mask > 0] = 120 + 10 * number
            cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
        for place in (folder / "images", data / "images"):
            cv2.imwrite(str(place / f"{name}.png"), image)


TRIALS: dict[str, Callable[[Trial], Result]] = {
    "conversion": kill_conversion,
    "prediction": kill_prediction,
    "processes": kill_processes,
    "tiles": kill_tiles,
    "training": kill_training,
    "search": kill_search,
    "folds": kill_folds,
    "disk": fill_disk,
}


def measure(args: argparse.Namespace) -> int:
    """Draw the images, run the trials and print the table."""
    unknown = set(args.only) - set(TRIALS)
    if unknown:
        raise InputError(f"--only {','.join(unknown)}: expected some of {','.join(TRIALS)}")
    if args.output.exists():
        raise InputError(f"--output {args.output}: is there already; name a new folder")
    data = args.output.resolve() / "datasets"
    draw_images(data, args.images)
    rows: list[list[object]] = []
    for name in args.only:
        folder = args.output.resolve() / name
        folder.mkdir()
        run = Runner(folder / "log.txt", {"DETECTRON2_DATASETS": str(data)})
        trial = Trial(folder, data, args.kills, args.iterations, random.Random(args.seed), run)
        if not (data / "dsb2018" / "annotations").is_dir():
            run.run(trial.convert(data / "dsb2018"))
        result = TRIALS[name](trial)
        longest = f"{max(run.survived):.2f}" if run.survived else "–"
        wrong = result.wrong + sum(seconds > _SURVIVAL for seconds in run.survived)
        rows.append([name, len(run.survived), result.done, result.compared, wrong, longest])
        print(rows[-1], flush=True)
    columns = ["trial", "kills", "done after each", "compared", "wrong", "workers gone after s"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.to_string(index=False))
    return int(table["wrong"].any())


def main() -> None:
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("output/kills"), help="a new folder")
    add("--only", type=lambda text: text.split(","), default=[*TRIALS], help=",".join(TRIALS))
    add("--images", type=int, default=30, help="number of images, 10 or more for ten folds")
    add("--kills", type=int, default=4, help="kills of conversion, prediction and training each")
    add("--iterations", type=int, default=30, help="iterations of a training")
    add("--seed", type=int, default=0, help="random seed of the times of the kills")
    args = parser.parse_args()
    run_tool(lambda: measure(args))


if __name__ == "__main__":
    main()
