#!/usr/bin/env python
"""Average the weights of trainings that have a common start, a first and its second stage say.

    python tools/average_weights.py output/first/model_final.pth output/second/model_final.pth \\
        --output output/mean/model_final.pth

The result is a checkpoint like any other, for MODEL.WEIGHTS and tools/export_weights.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--shares",
        type=lambda text: [float(number) for number in text.split(",")],
        metavar="S1,S2,…",
        help="of each checkpoint in the mean (equal)",
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.engine.averaging import average_checkpoints

    average_checkpoints(args.checkpoints, args.output, args.shares)
    print(f"{args.output}: mean of {len(args.checkpoints)} checkpoints")


if __name__ == "__main__":
    run_tool(main)
