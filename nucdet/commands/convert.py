"""Convert a data set to COCO JSON: %(prog)s dsb2018 --root datasets/dsb2018

The name of a data set before --help shows its options.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from nucdet.arguments import command, command_parser
from nucdet.data.conversion import CONVERTERS


@command
def main() -> None:
    parser = command_parser(__doc__)
    subparsers = parser.add_subparsers(dest="dataset", required=True)
    for name, summary in CONVERTERS.items():
        subparser = subparsers.add_parser(
            name, help=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        # a converter takes a second or more to import, so only the one that is asked for is
        if sys.argv[1:2] == [name]:
            converter = import_module(f"nucdet.data.conversion.{name}")
            converter.add_arguments(subparser)
            subparser.set_defaults(convert=converter.convert)
    args = parser.parse_args()
    args.convert(args)
