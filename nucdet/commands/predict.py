"""Find the nuclei in images, and write masks, measurements and a report."""

from __future__ import annotations

import argparse

from nucdet.arguments import (
    add_config,
    add_devices,
    add_planes,
    command,
    command_parser,
    parse_diameter,
    parse_list,
    quick_imports,
)
from nucdet.predict.formats import FORMATS, formats_text
from nucdet.predict.options import LINKED_AXES, PredictOptions

# exit code of a run in which some images could not be read or predicted
SOME_FAILED = 3

_FORMAT_LINES = "\n".join(
    f"  {name:9} {entry.file:22} {entry.summary}" for name, entry in FORMATS.items()
)
_EPILOG = f"""
Outputs, in the same subfolders as the input:
{_FORMAT_LINES}
  summary.csv and report.html are always written. The folder .records serves --resume and lists the
  files that nucdet wrote; other files are never replaced.
  With --z all or --time all, each file gives one stack: NAME_label.ome.tif, one csv, geojson and
  zip for all its planes, and the overlays of the planes in the folder NAME_overlay.

Exit codes: 0 all images were predicted; {SOME_FAILED} some could not be read (they are named, the
rest is complete); 2 a mistake in the command, or an output that cannot be written; 130 interrupted
(only whole files are left; --resume continues).

Examples:
  %(prog)s --input images --output results
  %(prog)s --input 'images/**/*_dapi.tif' --output results --save label,roi --pixel-size 0.32 \\
      --config-file DSB2018/mask_rcnn_lite0_FPN.yaml MODEL.WEIGHTS model_best.pth
  %(prog)s --input plate1 --output results --channel-files '_w([0-9])' --channel 1 \\
      --metadata '(?P<well>[A-P][0-9]{{2}})_s(?P<site>[0-9]+)' platemap.csv
  %(prog)s --input film.ome.tif --output results --channel DAPI --z max --time all
  %(prog)s --input stack.ome.tif --output results --channel DAPI --z all --link z
"""


@command
def main() -> int:
    args = argument_parser().parse_args()
    options = PredictOptions.from_args(args)

    with quick_imports():
        from nucdet.predict.run import predict

    return SOME_FAILED if predict(options, args) else 0


def argument_parser() -> argparse.ArgumentParser:
    """A parser with the arguments of :class:`PredictOptions` and of the devices."""
    parser = command_parser(__doc__, _EPILOG)
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="image files, folders (searched with their subfolders; labels next to their image, "
        "outputs of earlier runs, hidden files and links to folders are left out) or quoted "
        "patterns",
    )
    add("--output", required=True, metavar="DIR", help="output folder, created if missing")
    add(
        "--save",
        type=parse_list,
        default="label,overlay,csv",
        metavar="LIST",
        help=f"{formats_text()} (default: %(default)s)",
    )
    add(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="score that a nucleus must exceed, from 0 (find more) to below 1 (be sure); see "
        "docs/threshold.md for precision and recall (default: the rules of the config)",
    )
    add(
        "--exclude-border",
        action="store_true",
        help="leave out nuclei that touch the image border",
    )
    add(
        "--measure-channels",
        type=parse_list,
        default=[],
        metavar="LIST",
        help="channels whose intensity is measured: names, or numbers from 0 (default: all)",
    )
    add(
        "--metadata",
        nargs="+",
        default=[],
        metavar="CSV|REGEX",
        help="what is known of the images, as columns of nuclei.csv, summary.csv and the report: a "
        "regular expression whose (?P<name>parts) are found in each file name, and tables such as "
        "a plate map, with a column image or one of those names",
    )
    add(
        "--pixel-size",
        type=float,
        metavar="µm",
        help="side of a pixel, for measurements in µm (default: from the file; if it has none, "
        "measurements are in pixels)",
    )
    add(
        "--diameter",
        type=parse_diameter,
        metavar="PIXELS|auto",
        help="diameter of the nuclei in the image, if they are much larger or smaller than in "
        "training; auto: estimated from the image (default: auto for the shipped model, otherwise "
        "from the config)",
    )
    add(
        "--outline-offset",
        type=float,
        metavar="PIXELS",
        help="move the outlines outwards into free background, or inwards if negative, by at least "
        "one pixel",
    )
    add_planes(parser, several=True)
    add(
        "--channel-files",
        metavar="REGEX",
        help="each channel of an image lies in a file of its own; the files of an image have the "
        "same name but for what this regular expression fits, and its (part) is the name of the "
        "channel: '_w([0-9])' for a_w1.tif and a_w2.tif",
    )
    add(
        "--link",
        choices=LINKED_AXES,
        help="give a nucleus one number in all planes that show it: z, with --z all, joins its "
        "sections, and the tables then have one row for each nucleus, with its volume; time, with "
        "--time all, follows it from one time to the next",
    )
    add(
        "--resume",
        action="store_true",
        help="continue an earlier run: skip the images that are done",
    )
    add_devices(parser)
    add_config(parser, default="the shipped model")
    return parser


if __name__ == "__main__":
    main()
