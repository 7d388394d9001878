"""Train and score a config on each fold of a data set, or leave out each kind of microscopy.

    nucdet-convert labels --images DIR --labels DIR --name mydata --folds 5
    %(prog)s --config-file finetune.yaml

The data set is that of DATASETS.TRAIN, here mydata_train. The option --folds of nucdet-convert
labels, coco and dsb2018 writes its folds. Each image is in fold<k>_val of one fold, and is scored
with the network that was trained on fold<k>_train, which contains the images of all other folds.

    nucdet-convert dsb2018 --kinds
    %(prog)s --config-file FILE --leave-out-kind --only bright_field

Prints the mean ± standard deviation of every metric. Writes cross_validation.csv (one row per
training) and summary.csv (one row per metric) after each training. After an interruption, the same
command continues. If the data set was converted again since, choose another --output-dir: results
of different folds are never averaged.
Exit codes: 1: a training failed; 2: a mistake in the command, the config or the data, found before
any training, or the data set was converted again between two trainings.
"""

from __future__ import annotations

from nucdet.arguments import add_config, command, command_parser, parse_list, quick_imports


@command
def main() -> int:
    parser = command_parser(__doc__)
    add_config(parser)
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="default: OUTPUT_DIR of the config with _folds or _kinds",
    )
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="number of folds, to check that the data set has that many (default: as many as it "
        "has)",
    )
    split.add_argument(
        "--leave-out-kind",
        action="store_true",
        help="train on dsb2018_without_<kind> and score on dsb2018_only_<kind>, for each kind",
    )
    parser.add_argument(
        "--only",
        type=parse_list,
        default=[],
        metavar="P1,P2,…",
        help="train only these folds (0,1) or kinds (bright_field) now; finished ones still count",
    )
    parser.add_argument("--retry-failed", action="store_true", help="repeat trainings that failed")
    args = parser.parse_args()

    with quick_imports():
        from nucdet.tuning.cross_validate import cross_validate

    return cross_validate(
        args.config_file,
        args.output_dir,
        args.opts,
        folds=args.folds,
        leave_out_kind=args.leave_out_kind,
        only=args.only,
        retry_failed=args.retry_failed,
    )


if __name__ == "__main__":
    main()
