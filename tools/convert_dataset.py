#!/usr/bin/env python
"""Convert a data set to COCO JSON, e.g. convert_dataset.py dsb2018 --root datasets/dsb2018"""

import argparse
from importlib import import_module

from nucdet.data.conversion import CONVERTERS
from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(dest="dataset", required=True)
    for name in CONVERTERS:
        converter = import_module(f"nucdet.data.conversion.{name}")
        formatter = argparse.ArgumentDefaultsHelpFormatter
        subparser = subparsers.add_parser(name, formatter_class=formatter)
        converter.add_arguments(subparser)
        subparser.set_defaults(convert=converter.convert)
    args = parser.parse_args()
    args.convert(args)


if __name__ == "__main__":
    run_tool(main)
