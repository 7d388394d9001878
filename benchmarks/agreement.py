#!/usr/bin/env python3
"""Agreement of this code's predictions with those of an older commit, as a Kaggle score.

    python benchmarks/agreement.py --images FOLDER [--against COMMIT] [KEY VALUE …]

A change for speed may alter rounding; this shows that the nuclei stay the same. Both versions
predict the images with the shipped model, or as ``--config-file`` and KEY VALUE pairs say, and the
older commit's nuclei serve as ground truth.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from train_throughput import AGAINST, REPOSITORY, unpack


def predict(checkout: Path, images: Path, output: Path, options: list[str]) -> None:
    """Run nucdet-predict of a checkout; it writes label images and one COCO JSON."""
    command = [sys.executable, str(checkout / "tools/predict.py"), "--input", str(images)]
    command += ["--output", str(output), "--save", "label,coco", *options]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--against", default=AGAINST, metavar="COMMIT", help="an older nucdet")
    parser.add_argument("--config-file", type=Path, metavar="FILE")
    parser.add_argument("opts", nargs="*", help="KEY VALUE pairs")
    args = parser.parse_args()
    options = ["--config-file", str(args.config_file.resolve())] if args.config_file else []
    with tempfile.TemporaryDirectory() as folder:
        older, truth, here = (Path(folder) / name for name in ("code", "older", "here"))
        older.mkdir()
        unpack(args.against, older)
        predict(older, args.images, truth, [*options, *args.opts])
        predict(REPOSITORY, args.images, here, [*options, *args.opts])
        (ground_truth,) = truth.glob("*.json")
        command = [sys.executable, str(REPOSITORY / "tools/evaluate_predictions.py")]
        command += ["--ground-truth", str(ground_truth), "--predictions", str(here)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        raise SystemExit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
