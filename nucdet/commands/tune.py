"""Choose thresholds, overlap rule and outline offset by the Kaggle score of stored predictions.

    nucdet-train --config-file C.yaml --eval-only MODEL.WEIGHTS W.pth OUTPUT_DIR out \\
        MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.05 TEST.OVERLAP_ELIMINATION.ENABLED False
    %(prog)s --ground-truth instances_val.json --config-file C.yaml \\
        --predictions out/inference/dsb2018_val/coco_instances_results.json --output-dir tuned

Tries all combinations; with several classes, each class then gets values of its own. Afterwards it
moves the outlines, because some annotators draw them wider or narrower (TEST.OUTLINE_OFFSET; a few
labelled images are enough). Writes thresholds.csv (every combination), outline_offsets.csv and
best.yaml (config keys; a config of its own with --config-file).
Binary masks do not tell which mask threshold made them. To choose it, predict with several values
of MODEL.ROI_MASK_HEAD.MASK_THRESH, and give all files with their --mask-thresholds.
"""

from __future__ import annotations

from dataclasses import fields

from nucdet.arguments import add_output, command, command_parser, config_file, quick_imports
from nucdet.files import check_exist


@command
def main() -> None:
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("--ground-truth", required=True, metavar="JSON", help="COCO JSON with annotations")
    add(
        "--predictions",
        required=True,
        nargs="+",
        metavar="FILE",
        help="coco_instances_results.json (csv files and label images lack the scores this needs)",
    )
    add_output(parser, "folder for thresholds.csv and best.yaml")
    add("--config-file", type=config_file, metavar="FILE", help="config that best.yaml builds on")
    values = {"nargs": "+", "metavar": "X"}
    add("--mask-thresholds", type=float, help="one per file", **values)
    add("--score-thresholds", type=float, help="default: 0 0.05 … 0.95", **values)
    add("--min-areas", type=int, help="in pixels; default: 0 10 20 30 50 100", **values)
    add(
        "--min-relative-areas",
        type=float,
        help="as fractions of the mean mask area of the image; default: 0 0.1 0.2 0.3",
        **values,
    )
    add(
        "--min-relative-scores",
        type=float,
        help="as fractions of the median score of the image; default: 0 0.85 0.9",
        **values,
    )
    add("--priorities", nargs="+", choices=("area", "score"), help="default: both")
    add("--outline-offsets", type=float, help="in pixels; default: -2 -1.5 -1 0 1 1.5 2", **values)
    args = parser.parse_args()
    check_exist(args.ground_truth, *args.predictions)

    with quick_imports():
        from nucdet.tuning.thresholds import Grid
        from nucdet.tuning.tune import OUTLINE_OFFSETS, tune_thresholds

    chosen = {field.name: getattr(args, field.name) for field in fields(Grid)}
    grid = Grid(**{name: values for name, values in chosen.items() if values})
    tune_thresholds(
        args.ground_truth,
        args.predictions,
        args.output_dir,
        grid,
        mask_thresholds=args.mask_thresholds,
        config_file=args.config_file,
        outline_offsets=args.outline_offsets or OUTLINE_OFFSETS,
    )


if __name__ == "__main__":
    main()
