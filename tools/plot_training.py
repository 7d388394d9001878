#!/usr/bin/env python
"""Draw losses and validation score of one or several trainings from the csv logs in OUTPUT_DIR.

python tools/plot_training.py output/train-demo
python tools/plot_training.py output/a output/b --output both.png
"""

from __future__ import annotations

import argparse

from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="+", metavar="OUTPUT_DIR", help="folder with losses.csv, evaluation.csv"
    )
    parser.add_argument(
        "--output", metavar="PNG", help="the image (default: training.png in the first folder)"
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.visualization.training_curves import plot_training

    print(f"written to {plot_training(args.folders, args.output)}")


if __name__ == "__main__":
    run_tool(main)
