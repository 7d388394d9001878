"""Synthetic images, for demos and tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.arguments import add_split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``nucdet-convert synthetic``."""
    parser.add_argument(
        "--root", type=Path, default=Path("datasets/synthetic"), help="folder to draw into"
    )
    parser.add_argument("--images", type=int, default=72, help="number of images to draw")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    add_split(parser, 1 / 6)


def convert(args: argparse.Namespace) -> None:
    """Run the subcommand and print what was written."""
    from nucdet.data.conversion.coco_json import print_splits
    from nucdet.data.conversion.synthetic import make_synthetic

    splits = make_synthetic(args.root, args.images, args.size, args.val_fraction, args.seed)
    print_splits(splits, "nuclei", args.root)
