"""Plot losses and validation scores of one or more trainings from the csv logs in OUTPUT_DIR.

%(prog)s output/train-demo
%(prog)s output/a output/b --output both.png
"""

from __future__ import annotations

from nucdet.arguments import command, command_parser


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument(
        "folders", nargs="+", metavar="OUTPUT_DIR", help="folder with losses.csv and evaluation.csv"
    )
    parser.add_argument(
        "--output", metavar="PNG", help="the image (default: training.png in the first folder)"
    )
    args = parser.parse_args()

    from nucdet.visualization.training_curves import plot_training

    print(f"written to {plot_training(args.folders, args.output)}")


if __name__ == "__main__":
    main()
