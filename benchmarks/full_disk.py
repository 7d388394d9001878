"""Runs tools on a disk that fills up (a small tmpfs, which needs root), for benchmarks/kills.py."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from kill_trials import CONFIG, Result, Trial, contents, differing, wrong_in_training

from nucdet.errors import InputError
from nucdet.files import find_left_over


def fill_disk(trial: Trial) -> Result:
    """Run each tool on a tmpfs with too little space for its output, then with enough space."""
    disk = trial.folder / "disk"
    pairs = [*trial.training_pairs(), "OUTPUT_DIR", disk]
    commands = [
        trial.convert(disk),
        trial.tool("predict", "--input", trial.data / "images", "--resume", "--output", disk),
        trial.tool("train_net", *CONFIG, "--resume", *pairs),
    ]
    outcomes = [_fill(trial, disk, command) for command in commands]
    wrong, sizes = zip(*outcomes, strict=True)
    return Result(list(sizes), len(commands), sum(wrong))


def _fill(trial: Trial, disk: Path, command: list[str]) -> tuple[int, int]:
    """Run a tool on a disk that fills up; returns the number of errors and the disk size in KiB."""
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
            # a resumed training draws other images, so its weights differ
            return wrong + wrong_in_training(disk, trial.iterations), size
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
