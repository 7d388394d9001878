"""Your own images with a COCO JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.commands.converters._own_data import add_own_data, own_data, print_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``nucdet-convert coco``."""
    parser.add_argument("--json", type=Path, required=True, help="COCO JSON with annotations")
    parser.add_argument(
        "--images", type=Path, required=True, help="folder to which its file names are relative"
    )
    add_own_data(parser, None, "merge all classes into one class of this name")


def convert(args: argparse.Namespace) -> None:
    """Run the subcommand and print what was written."""
    from nucdet.data.conversion.coco import convert_coco

    own = own_data(args)
    splits = convert_coco(
        args.json, args.images, own, args.class_name, args.workers, args.skip_invalid
    )
    print_result(splits, own)
