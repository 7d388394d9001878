"""Your own images with label maps."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.commands.converters._own_data import add_own_data, own_data, print_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``nucdet-convert labels``."""
    parser.add_argument(
        "--images", type=Path, required=True, help="folder of images, without subfolders"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        help="folder of label maps, may be that of --images; without it the images become the "
        "split test, without ground truth",
    )
    add_own_data(parser, "nucleus", "class of the labelled objects")


def convert(args: argparse.Namespace) -> None:
    """Run the subcommand and print what was written."""
    from nucdet.data.conversion.labels import convert_labels

    own = own_data(args, test=args.labels is None)
    splits = convert_labels(
        args.images, args.labels, own, args.class_name, args.workers, args.skip_invalid
    )
    print_result(splits, own)
