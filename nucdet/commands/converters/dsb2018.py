"""2018 Data Science Bowl (BBBC038), from Kaggle's folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.arguments import add_folds, add_skip_invalid, add_split, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``nucdet-convert dsb2018``."""
    parser.add_argument(
        "--root", type=Path, default=Path("datasets/dsb2018"), help="folder of the data set"
    )
    add_split(parser, 0.1)
    add_folds(parser)
    parser.add_argument(
        "--kinds",
        action="store_true",
        help="also write only_<kind> and without_<kind> for each kind of image in stage1_train, "
        "for nucdet-cross-validate --leave-out-kind",
    )
    parser.add_argument(
        "--groups",
        type=Path,
        help="csv with the columns img_id and mosaic_idx: images that stay in the same split, in "
        "addition to tiles that are recognised by their pixels",
    )
    parser.add_argument(
        "--test",
        choices=("stage1_test", "stage2_test"),
        help="folder that becomes the split test (default: the first of these that exists)",
    )
    add_workers(parser)
    add_skip_invalid(parser)


def convert(args: argparse.Namespace) -> None:
    """Run the subcommand and print what was written."""
    from nucdet.data.conversion.coco_json import print_splits
    from nucdet.data.conversion.dsb2018 import SplitOptions, convert_dsb2018

    splits = convert_dsb2018(
        args.root,
        SplitOptions(args.val_fraction, args.seed, args.folds, args.kinds, args.groups),
        test=args.test,
        workers=args.workers,
        skip_invalid=args.skip_invalid,
    )
    print_splits(splits, "nuclei", args.root / "annotations")
