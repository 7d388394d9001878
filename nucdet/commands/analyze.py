"""Print and plot statistics of a COCO JSON, and suggest anchors and detections per image."""

from __future__ import annotations

from pathlib import Path

from nucdet.arguments import command, command_parser


@command
def main() -> None:
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--annotations", type=Path, required=True, metavar="JSON", help="instances_<split>.json")
    add(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the plot and the numbers",
    )
    add(
        "--input-size",
        type=int,
        default=0,
        metavar="PIXELS",
        help="shorter side to which images are resized before the network; anchors are suggested "
        "for that size (default: 0, no resizing)",
    )
    args = parser.parse_args()

    from nucdet.visualization.dataset_statistics import analyze

    analyze(args.annotations, args.output, args.input_size)


if __name__ == "__main__":
    main()
