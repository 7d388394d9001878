"""LIVECell, from its official release."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.arguments import add_skip_invalid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``nucdet-convert livecell``."""
    parser.add_argument(
        "--root", type=Path, default=Path("datasets/livecell"), help="folder of the data set"
    )
    parser.add_argument(
        "--classes",
        choices=("cell", "type"),
        default="cell",
        help="cell: one class, livecell_<split> and livecell_<type>_<split>; "
        "type: a class for each of the 8 cell types, livecell_types_<split>",
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out images that the JSON names but that do not exist, and list them",
    )
    add_skip_invalid(parser)


def convert(args: argparse.Namespace) -> None:
    """Run the subcommand and print what was written."""
    from nucdet.data.conversion.livecell import convert_livecell

    counts = convert_livecell(
        args.root,
        by_type=args.classes == "type",
        allow_missing=args.allow_missing,
        skip_invalid=args.skip_invalid,
    )
    for split, (images, cells) in counts.items():
        print(f"{split}: {images} images, {cells} cells")
    print(f"written to {args.root / 'annotations'}")
