"""The trials of benchmarks/kills.py: how each tool is killed and its results are checked."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
from killing import Runner

from nucdet.data.manifest import check_manifest
from nucdet.errors import InputError
from nucdet.files import find_left_over

_FOLDS = 10
_SHARES = (0.3, 0.9)  # a run is killed after a random share of its CPU time in this range
_TRAINING = {
    "MODEL.WEIGHTS": "", "MODEL.DEVICE": "cpu", "INPUT.CROP.SIZE": "(64,64)",
    "SOLVER.IMS_PER_BATCH": 2, "SOLVER.CHECKPOINT_PERIOD": 3, "DATALOADER.NUM_WORKERS": 2,
    "TEST.EVAL_PERIOD": 0,
}  # fmt: skip
_TABLES = ("search.csv", "cross_validation.csv")
CONFIG = ["--config-file", "configs/DSB2018/unet_small.yaml"]


@dataclass
class Trial:
    """The settings of a trial.

    Attributes:
        folder: an empty folder for this trial.
        data: root of the data sets.
        kills: number of kills.
        iterations: number of iterations of a training.
        rng: draws the times of the kills.
        run: runs the commands.
    """

    folder: Path
    data: Path
    kills: int
    iterations: int
    rng: random.Random
    run: Runner

    def tool(self, name: str, *arguments: object) -> list[str]:
        """The command line of a script in tools/."""
        return [sys.executable, f"tools/{name}.py", *map(str, arguments)]

    def convert(self, root: Path, seed: int = 1) -> list[str]:
        """The command line that converts the synthetic data set."""
        options = ("--root", root, "--folds", _FOLDS, "--workers", 2, "--seed", seed)
        return self.tool("convert_dataset", "dsb2018", *options)

    def training_pairs(self, test: str = "()") -> list[str]:
        """KEY VALUE pairs for a training that takes seconds."""
        settings = {"DATASETS.TEST": test, "SOLVER.MAX_ITER": self.iterations, **_TRAINING}
        return [str(text) for pair in settings.items() for text in pair]

    def kill_at(self, command: list[str], progress: Callable[[], int], least: int) -> bool:
        """Kill a command shortly after its progress has reached ``least``.

        Returns:
            Whether it was still running.
        """
        return self.run.kill_when(command, lambda: progress() >= least, self.rng.uniform(0, 1))


@dataclass
class Result:
    """One row of the table.

    Attributes:
        done: the progress at each kill.
        compared: the number of files or iterations checked.
        wrong: the number of errors found.
    """

    done: list[int]
    compared: int
    wrong: int


def contents(folder: Path) -> dict[str, bytes]:
    """The content of all files in a folder, by their relative paths."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> int:
    """The number of files that are missing, different, or unexpected."""
    return sum(found.get(name) != expected.get(name) for name in {*found, *expected})


def kill_conversion(trial: Trial) -> Result:
    root = trial.data / "dsb2018"
    written = root / "annotations"
    references = []
    for seed in (1, 0):
        trial.run.run(trial.convert(root, seed))
        references.append(contents(written))
    new, old = references
    done, wrong = [], 0
    while len(done) < trial.kills:
        for name, content in old.items():
            (written / name).write_bytes(content)
        count = trial.rng.randrange(len(new) - 2)

        def progress() -> int:
            return sum((written / name).read_bytes() == content for name, content in new.items())

        if not trial.run.kill_when(trial.convert(root, 1), lambda m=count: progress() > m):
            continue  # it had finished before the kill
        done.append(progress())
        accepted = _accepted(written)
        wrong += not any(accepted.items() <= one.items() for one in references)
    trial.run.run(trial.convert(root, 1))
    wrong += differing(contents(written), new)
    return Result(done, len(new), wrong)


def _accepted(folder: Path) -> dict[str, bytes]:
    """The splits that registration would accept."""
    found = {}
    for path in folder.glob("instances_*.json"):
        try:
            check_manifest(path)
        except InputError:
            continue
        found[path.name] = path.read_bytes()
    return found


def kill_prediction(trial: Trial) -> Result:
    return _kill_prediction(trial, trial.data / "images")


def kill_processes(trial: Trial) -> Result:
    """The same as :func:`kill_prediction`, with two processes."""
    trial.kills = min(trial.kills, 2)
    return _kill_prediction(trial, trial.data / "images", "--num-gpus", "2")


def kill_tiles(trial: Trial) -> Result:
    """The same as :func:`kill_prediction`, with one TIFF of 2,560² pixels, predicted in tiles."""
    names = sorted(trial.data.glob("images/*.png"))
    pieces = [cv2.imread(str(name), cv2.IMREAD_GRAYSCALE) for name in names]
    rows = [np.hstack([pieces[(20 * i + j) % len(pieces)] for j in range(20)]) for i in range(20)]
    path = trial.folder / "large.tif"
    tifffile.imwrite(path, np.vstack(rows), tile=(256, 256), compression="zlib")
    trial.kills = 1
    return _kill_prediction(trial, path)


def _kill_prediction(trial: Trial, images: Path, *options: str) -> Result:
    reference, output = trial.folder / "reference", trial.folder / "killed"
    predict = trial.tool("predict", "--input", images, *options)
    predict += ["--save", "label,csv,geojson,coco", "--output"]
    whole = trial.run.run([*predict, str(reference)])
    command = [*predict, str(output), "--resume"]
    done: list[int] = []
    while len(done) < trial.kills:
        moment = trial.rng.uniform(*_SHARES) * whole
        labels = sorted(output.glob("*_label.tif"))
        for label in labels[:: 2 if len(labels) > 3 else 1]:
            label.unlink()  # so that something is left to do
        if trial.run.kill_after(command, moment):
            done.append(len(list(output.glob("*_label.tif"))))
            _damage(output, trial.rng)
    trial.run.run(command)
    expected = contents(reference)
    return Result(done, len(expected), differing(contents(output), expected))


def _damage(output: Path, rng: random.Random) -> None:
    """Truncate one output and one record, as a power failure might."""
    for pattern in ("*_label.tif", ".records/*.json"):
        if files := sorted(output.glob(pattern)):
            chosen = rng.choice(files)
            time = chosen.stat().st_mtime_ns
            chosen.write_bytes(chosen.read_bytes()[: rng.choice((0, 10))])
            # a file that is newer than its record would be regarded as changed by the user
            os.utime(chosen, ns=(time, time))


def kill_training(trial: Trial) -> Result:
    output = trial.folder / "training"
    options = [*CONFIG, "--resume", *trial.training_pairs("('dsb2018_val',)")]
    command = trial.tool("train_net", *options, "OUTPUT_DIR", output)
    done = []
    for number in range(trial.kills):
        least = (number + 1) * trial.iterations // (trial.kills + 2)
        if not trial.kill_at(command, lambda: _rows(output), least):
            raise InputError("the training ended before it was killed; give more --iterations")
        done.append(_rows(output))
    trial.run.run(command)
    return Result(done, trial.iterations, wrong_in_training(output, trial.iterations))


def _rows(output: Path) -> int:
    losses = output / "losses.csv"
    return max(losses.read_bytes().count(b"\n") - 1, 0) if losses.is_file() else 0


def wrong_in_training(output: Path, iterations: int) -> int:
    """Count missing or repeated iterations, surplus checkpoints and leftover temporary files."""
    found = pd.read_csv(output / "losses.csv")["iteration"].tolist()
    wrong = len(set(range(iterations)) ^ set(found)) + len(found) - len(set(found))
    checkpoints = len(list(output.glob("model_[0-9]*.pth")))
    return wrong + max(checkpoints - 3, 0) + len(list(find_left_over(output)))


def kill_search(trial: Trial) -> Result:
    pairs = trial.training_pairs("('dsb2018_val',)")
    grid = ("--grid", "SOLVER.BASE_LR=1e-3,1e-4", "--output-dir", trial.folder / "search")
    return _kill_trials(trial, trial.tool("search", *CONFIG, *grid, *pairs))


def kill_folds(trial: Trial) -> Result:
    folds = ("--folds", _FOLDS, "--only", "0,1", "--output-dir", trial.folder / "folds")
    return _kill_trials(
        trial, trial.tool("cross_validate", *CONFIG, *folds, *trial.training_pairs())
    )


def _kill_trials(trial: Trial, command: list[str]) -> Result:
    (output,) = [Path(command[i + 1]) for i, text in enumerate(command) if text == "--output-dir"]

    def progress() -> int:
        return sum(_rows(losses.parent) for losses in output.glob("*/losses.csv"))

    done = []
    for number in range(2):
        # once in each of the two trainings
        if not trial.kill_at(command, progress, number * trial.iterations + trial.iterations // 2):
            raise InputError("the trainings ended before the kill; give more --iterations")
        done.append(progress())
    trial.run.run(command)
    folders = [losses.parent for losses in output.glob("*/losses.csv")]
    wrong = sum(wrong_in_training(folder, trial.iterations) for folder in folders)
    table = next(output / name for name in _TABLES if (output / name).is_file())
    finished = int((pd.read_csv(table)["state"] == "done").sum())
    left = sum(1 for folder in (output, *folders) for _ in find_left_over(folder))
    return Result(done, 2 * trial.iterations, wrong + abs(finished - 2) + left)
