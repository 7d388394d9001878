"""The options shared by ``nucdet-convert labels`` and ``nucdet-convert coco``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nucdet.arguments import add_folds, add_planes, add_skip_invalid, add_workers
from nucdet.data.io.choice import Choice, options_text
from nucdet.errors import InputError

if TYPE_CHECKING:
    from nucdet.data.conversion.coco_json import ImageEntry
    from nucdet.data.conversion.own_data import OwnData


def add_own_data(parser: argparse.ArgumentParser, class_name: str | None, effect: str) -> None:
    """Add the options for the name of the data set, its splits, its class, its planes and the
    processing.

    Args:
        parser: the parser to add them to.
        class_name: default of --class-name.
        effect: what --class-name does, for the help text.
    """
    parser.add_argument(
        "--name",
        required=True,
        help="name of the data set, which is written to <data set root>/<name>",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        help="fraction of the images that becomes val; the rest becomes train",
    )
    parts.add_argument(
        "--split",
        type=lambda text: tuple(map(Path, text.split(","))),
        default=(),
        metavar="TRAIN.TXT,VAL.TXT",
        help="text files named after their splits, with one image name per line",
    )
    parts.add_argument("--test", action="store_true", help="put all images into the split test")
    parser.add_argument(
        "--groups",
        default="",
        metavar="REGEX|CSV",
        help="which images stay in the same split: a regular expression that is matched to their "
        "names without ending, or a csv with the columns image and group",
    )
    add_folds(parser)
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split")
    parser.add_argument("--class-name", default=class_name, help=effect)
    add_planes(parser)
    add_workers(parser)
    add_skip_invalid(parser)


def own_data(args: argparse.Namespace, test: bool = False) -> OwnData:
    """Check the options of :func:`add_own_data`; ``test`` has the same effect as --test.

    Raises:
        InputError: one of them is not valid.
    """
    from nucdet.data.conversion.own_data import OwnData

    if args.class_name == "":
        raise InputError("--class-name is empty; expected the name of the class")
    return OwnData(
        args.name,
        val_fraction=args.val_fraction,
        split_files=args.split,
        test=args.test or test,
        groups=args.groups,
        seed=args.seed,
        folds=args.folds,
        choice=Choice(args.channel, args.z, args.time, args.scene),
    )


def print_result(splits: Mapping[str, Sequence[ImageEntry]], own: OwnData) -> None:
    """Print what was written, and the options with which to predict such images."""
    from nucdet.data.conversion.coco_json import print_splits

    print_splits(splits, "instances", own.folder)
    if chosen := own.choice.chosen():
        print(f"give nucdet-predict the same options: {options_text(chosen)}")
