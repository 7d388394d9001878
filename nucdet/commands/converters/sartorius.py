"""Sartorius cell instance segmentation, from Kaggle's csv."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.arguments import add_skip_invalid, add_split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``nucdet-convert sartorius``."""
    parser.add_argument(
        "--root", type=Path, default=Path("datasets/sartorius"), help="folder of the data set"
    )
    add_split(parser, 0.1)
    parser.add_argument(
        "--group-samples",
        action="store_true",
        help="keep all images of one sample_id in the same split",
    )
    add_skip_invalid(parser)


def convert(args: argparse.Namespace) -> None:
    """Run the subcommand and print what was written."""
    from nucdet.data.conversion.coco_json import print_splits
    from nucdet.data.conversion.sartorius import convert_sartorius

    splits = convert_sartorius(
        args.root,
        val_fraction=args.val_fraction,
        seed=args.seed,
        group_samples=args.group_samples,
        skip_invalid=args.skip_invalid,
    )
    print_splits(splits, "cells", args.root / "annotations")
