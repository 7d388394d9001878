"""Convert a data set to COCO JSON: %(prog)s dsb2018 --root datasets/dsb2018

For the options of a data set: %(prog)s dsb2018 --help
"""

from __future__ import annotations

from nucdet.arguments import DefaultsFormatter, command, command_parser
from nucdet.commands.converters import converters


@command
def main() -> None:
    parser = command_parser(__doc__)
    subparsers = parser.add_subparsers(dest="dataset", required=True)
    for name, converter in converters().items():
        subparser = subparsers.add_parser(
            name,
            help=converter.__doc__,
            description=converter.__doc__,
            formatter_class=DefaultsFormatter,
        )
        converter.add_arguments(subparser)
        subparser.set_defaults(convert=converter.convert)
    args = parser.parse_args()
    args.convert(args)


if __name__ == "__main__":
    main()
