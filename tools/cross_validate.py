#!/usr/bin/env python
"""Train and score a config on every fold of dsb2018, or without every kind of microscopy.

    python tools/cross_validate.py --config-file FILE --folds 10
    python tools/cross_validate.py --config-file FILE --leave-out-kind --only bright_field

Folds and kinds are written by tools/convert_dataset.py dsb2018 --folds 10 --kinds. Prints mean ±
standard deviation of every metric; writes cross_validation.csv (a row a training) and summary.csv
(a row a metric) after each training. The same command goes on where it was interrupted. Exit code
1: a training failed; 2: a mistake in the command, the config or the data, found before training.
"""

from __future__ import annotations

import argparse

from nucdet.errors import run_tool


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="yaml to start from")
    parser.add_argument(
        "--output-dir", metavar="DIR", help="default: OUTPUT_DIR of the config and _folds or _kinds"
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--folds", type=int, default=10, metavar="K", help="as the data were converted (10)"
    )
    split.add_argument(
        "--leave-out-kind",
        action="store_true",
        help="train on dsb2018_without_<kind>, score on dsb2018_only_<kind>",
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        metavar="P1,P2,…",
        help="train these folds (0,1) or kinds (bright_field) now; others that are done count",
    )
    parser.add_argument("--retry-failed", action="store_true", help="train again what failed")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="pairs that override the config file"
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.tuning.cross_validate import cross_validate

    return cross_validate(
        args.config_file,
        args.output_dir,
        args.opts,
        folds=args.folds,
        leave_out_kind=args.leave_out_kind,
        only=args.only,
        retry_failed=args.retry_failed,
    )


if __name__ == "__main__":
    run_tool(main)
