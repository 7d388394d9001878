#!/usr/bin/env python
"""Kill tools with SIGKILL while they work, fill their disk, go on, and compare.

    python benchmarks/kills.py [--kills 4] [--only prediction,training]

conversion      a data set converted with another seed, killed while it writes: what registration
                accepts must be of one conversion; the last run must give the bytes of one that was
                never killed.
prediction      a folder of drawn images, gone on with --resume, one output cut short and one record
                damaged after each kill: the bytes of a run that was never killed.
tiles           the same with one TIFF that goes through in tiles.
training        with --resume: losses.csv has each iteration once, at most three checkpoints stay.
search, folds   a search of two settings, a cross-validation of two folds, started again: all
                trainings done, each iteration once.
disk            conversion, prediction and training on a small tmpfs that fills up: one line, exit
                code 2, nothing half-written; with more room they go on. Needs root.

After each kill of the first process its workers must be gone. The table counts what is wrong: an
exit code of 1 says that something is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
from killing import Runner

from nucdet.data.conversion.manifest import check_manifest
from nucdet.errors import InputError, run_tool
from nucdet.files import find_left_over

_FOLDS = 10
_SIDE = 128  # pixels of a drawn image
_SHARES = (0.3, 0.9)  # of a run, in CPU time, after which it is killed
_TRAINING = {
    "MODEL.WEIGHTS": "", "MODEL.DEVICE": "cpu", "INPUT.CROP.SIZE": "(64,64)",
    "SOLVER.IMS_PER_BATCH": 2, "SOLVER.CHECKPOINT_PERIOD": 3, "DATALOADER.NUM_WORKERS": 2,
    "TEST.EVAL_PERIOD": 0,
}  # fmt: skip
_TABLES = ("search.csv", "cross_validation.csv")
_CONFIG = ["--config-file", "configs/DSB2018/unet_small.yaml"]


@dataclass
class Trial:
    """What all trials need.

    Attributes:
        folder: of one trial, empty.
        data: root of the data sets.
        kills: how many.
        iterations: of a training.
        rng: draws the moments.
        run: runs the commands.
    """

    folder: Path
    data: Path
    kills: int
    iterations: int
    rng: random.Random
    run: Runner

    def tool(self, name: str, *arguments: object) -> list[str]:
        """The command of a script of tools/."""
        return [sys.executable, f"tools/{name}.py", *map(str, arguments)]

    def convert(self, root: Path, seed: int = 1) -> list[str]:
        """The command that converts the drawn data set."""
        options = ("--root", root, "--folds", _FOLDS, "--workers", 2, "--seed", seed)
        return self.tool("convert_dataset", "dsb2018", *options)

    def training_pairs(self, test: str = "()") -> list[str]:
        """KEY VALUE pairs of a training of seconds."""
        settings = {"DATASETS.TEST": test, "SOLVER.MAX_ITER": self.iterations, **_TRAINING}
        return [str(text) for pair in settings.items() for text in pair]

    def kill_at(self, command: list[str], progress: Callable[[], int], least: int) -> bool:
        """Kill a command a moment after its progress has come so far; whether it was running."""
        return self.run.kill_when(command, lambda: progress() >= least, self.rng.uniform(0, 1))


@dataclass
class Result:
    """One row of the table: what was done when killed, what was compared, what was wrong."""

    done: list[int]
    compared: int
    wrong: int


def draw_images(data: Path, count: int) -> None:
    """Write discs on a dark ground in Kaggle's layout, a mask a file, and the images once more."""
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


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files, by their path in the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> int:
    """How many files are missing, other, or too many."""
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
            continue  # it was faster
        done.append(progress())
        accepted = _accepted(written)
        wrong += not any(accepted.items() <= one.items() for one in references)
    trial.run.run(trial.convert(root, 1))
    wrong += differing(contents(written), new)
    return Result(done, len(new), wrong)


def _accepted(folder: Path) -> dict[str, bytes]:
    """The splits that registration would take."""
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


def kill_tiles(trial: Trial) -> Result:
    """One TIFF of 2,560² that the network takes in tiles."""
    names = sorted(trial.data.glob("images/*.png"))
    pieces = [cv2.imread(str(name), cv2.IMREAD_GRAYSCALE) for name in names]
    rows = [np.hstack([pieces[(20 * i + j) % len(pieces)] for j in range(20)]) for i in range(20)]
    path = trial.folder / "large.tif"
    tifffile.imwrite(path, np.vstack(rows), tile=(256, 256), compression="zlib")
    trial.kills = 1
    return _kill_prediction(trial, path)


def _kill_prediction(trial: Trial, images: Path) -> Result:
    reference, output = trial.folder / "reference", trial.folder / "killed"
    save = ("--save", "label,csv,geojson,coco")
    whole = trial.run.run(trial.tool("predict", "--input", images, *save, "--output", reference))
    command = trial.tool("predict", "--input", images, *save, "--output", output, "--resume")
    done: list[int] = []
    while len(done) < trial.kills:
        moment = trial.rng.uniform(*_SHARES) * whole
        records = sorted(output.glob(".records/[!.]*.json"))
        for record in records[:: 2 if len(records) > 3 else 1]:
            record.unlink()  # something is left to do
        if trial.run.kill_after(command, moment):
            done.append(len(list(output.glob(".records/[!.]*.json"))))
            _damage(output, trial.rng)
    trial.run.run(command)
    expected = contents(reference)
    return Result(done, len(expected), differing(contents(output), expected))


def _damage(output: Path, rng: random.Random) -> None:
    """Cut one output short and one record, as a power failure may leave them."""
    for pattern in ("*_label.tif", ".records/*.json"):
        if files := sorted(output.glob(pattern)):
            chosen = rng.choice(files)
            chosen.write_bytes(chosen.read_bytes()[: rng.choice((0, 10))])


def kill_training(trial: Trial) -> Result:
    output = trial.folder / "training"
    options = [*_CONFIG, "--resume", *trial.training_pairs("('dsb2018_val',)")]
    command = trial.tool("train_net", *options, "OUTPUT_DIR", output)
    done = []
    for number in range(trial.kills):
        least = (number + 1) * trial.iterations // (trial.kills + 2)
        if not trial.kill_at(command, lambda: _rows(output), least):
            raise InputError("the training ended before it was killed; give more --iterations")
        done.append(_rows(output))
    trial.run.run(command)
    return Result(done, trial.iterations, _wrong_in_training(output, trial.iterations))


def _rows(output: Path) -> int:
    losses = output / "losses.csv"
    return max(losses.read_bytes().count(b"\n") - 1, 0) if losses.is_file() else 0


def _wrong_in_training(output: Path, iterations: int) -> int:
    """Iterations that are missing or twice, checkpoints too many, files left half-written."""
    found = pd.read_csv(output / "losses.csv")["iteration"].tolist()
    wrong = len(set(range(iterations)) ^ set(found)) + len(found) - len(set(found))
    checkpoints = len(list(output.glob("model_[0-9]*.pth")))
    return wrong + max(checkpoints - 3, 0) + len(list(find_left_over(output)))


def kill_search(trial: Trial) -> Result:
    pairs = trial.training_pairs("('dsb2018_val',)")
    grid = ("--grid", "SOLVER.BASE_LR=1e-3,1e-4", "--output-dir", trial.folder / "search")
    return _kill_trials(trial, trial.tool("search", *_CONFIG, *grid, *pairs))


def kill_folds(trial: Trial) -> Result:
    folds = ("--folds", _FOLDS, "--only", "0,1", "--output-dir", trial.folder / "folds")
    return _kill_trials(
        trial, trial.tool("cross_validate", *_CONFIG, *folds, *trial.training_pairs())
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
    wrong = sum(_wrong_in_training(folder, trial.iterations) for folder in folders)
    table = next(output / name for name in _TABLES if (output / name).is_file())
    finished = int((pd.read_csv(table)["state"] == "done").sum())
    left = sum(1 for folder in (output, *folders) for _ in find_left_over(folder))
    return Result(done, 2 * trial.iterations, wrong + abs(finished - 2) + left)


def fill_disk(trial: Trial) -> Result:
    """Room for a part of each tool's output on a tmpfs; then for all of it."""
    disk = trial.folder / "disk"
    pairs = [*trial.training_pairs(), "OUTPUT_DIR", disk]
    commands = [
        trial.convert(disk),
        trial.tool("predict", "--input", trial.data / "images", "--resume", "--output", disk),
        trial.tool("train_net", *_CONFIG, "--resume", *pairs),
    ]
    outcomes = [_fill(trial, disk, command) for command in commands]
    wrong, sizes = zip(*outcomes, strict=True)
    return Result(list(sizes), len(commands), sum(wrong))


def _fill(trial: Trial, disk: Path, command: list[str]) -> tuple[int, int]:
    """What was wrong with a tool that writes to a full disk, and the disk's size in KiB."""
    _prepare_disk(trial, disk)
    trial.run.run(command)
    expected = _results(disk)
    total = sum(path.stat().st_blocks for path in disk.rglob("*") if path.is_file()) // 2
    shutil.rmtree(disk)
    disk.mkdir()
    size = total * 2 // 3
    _mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk)
    try:
        _prepare_disk(trial, disk)
        code, lines = trial.run.fail(command)
        wrong = int(code != 2) + int("No space left" not in lines[-1])
        wrong += any("Traceback" in line or "Logging error" in line for line in lines)
        folders = [disk, *(path for path in disk.rglob("*") if path.is_dir())]
        wrong += sum(1 for folder in folders for _ in find_left_over(folder))
        _mount("-o", f"remount,size={4 * total}k", disk)
        trial.run.run(command)
        if (disk / "losses.csv").is_file():
            # what goes on draws other images, so its weights are others
            return wrong + _wrong_in_training(disk, trial.iterations), size
        return wrong + differing(_results(disk), expected), size
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _prepare_disk(trial: Trial, disk: Path) -> None:
    disk.mkdir(exist_ok=True)
    (disk / "stage1_train").symlink_to(trial.data / "dsb2018" / "stage1_train")


def _results(disk: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(disk).items() if "stage1_train" not in name}


def _mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"mount: {done.stderr.strip()}; needs root, leave disk out of --only")


TRIALS: dict[str, Callable[[Trial], Result]] = {
    "conversion": kill_conversion,
    "prediction": kill_prediction,
    "tiles": kill_tiles,
    "training": kill_training,
    "search": kill_search,
    "folds": kill_folds,
    "disk": fill_disk,
}


def measure(args: argparse.Namespace) -> int:
    """Draw images, do the trials, print the table."""
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
        rows.append([name, len(run.survived), result.done, result.compared, result.wrong, longest])
        print(rows[-1], flush=True)
    columns = ["trial", "kills", "done after each", "compared", "wrong", "workers gone after s"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.to_string(index=False))
    return int(table["wrong"].any())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("output/kills"), help="a new folder")
    add("--only", type=lambda text: text.split(","), default=[*TRIALS], help=",".join(TRIALS))
    add("--images", type=int, default=30, help="that are drawn")
    add("--kills", type=int, default=4, help="of conversion, prediction and training")
    add("--iterations", type=int, default=30, help="of a training")
    add("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    run_tool(lambda: measure(args))


if __name__ == "__main__":
    main()
