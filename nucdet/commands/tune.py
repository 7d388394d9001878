"""Choose thresholds, overlap rule and outline offset by the Kaggle score of cached predictions.

    nucdet-train --config-file C.yaml --eval-only MODEL.WEIGHTS W.pth OUTPUT_DIR out \\
        MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.05 TEST.OVERLAP_ELIMINATION.ENABLED False
    %(prog)s --ground-truth instances_val.json --config-file C.yaml \\
        --predictions out/inference/dsb2018_val/coco_instances_results.json --output-dir tuned

All combinations are tried; with several classes each then gets values of its own. Then outlines
are moved, for annotators who draw them wider or narrower (TEST.OUTLINE_OFFSET; a few labelled
images suffice). Writes thresholds.csv (every point), outline_offsets.csv and best.yaml (config
keys; a config of its own with --config-file).
Binary masks do not show the mask threshold that made them: to choose it, predict with several
values of MODEL.ROI_MASK_HEAD.MASK_THRESH and name all files, with their --mask-thresholds.
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
        help="coco_instances_results.json; a csv or label images have no scores to choose by",
    )
    add_output(parser, "for thresholds.csv and best.yaml")
    add("--config-file", type=config_file, metavar="FILE", help="best.yaml builds on it")
    values = {"nargs": "+", "metavar": "X"}
    add("--mask-thresholds", type=float, help="one for each file", **values)
    add("--score-thresholds", type=float, help="default: 0 0.05 … 0.95", **values)
    add("--min-areas", type=int, help="in pixels; default: 0 10 20 30 50 100", **values)
    add(
        "--min-relative-areas",
        type=float,
        help="shares of the mean area of the image; default: 0 0.1 0.2 0.3",
        **values,
    )
    add(
        "--min-relative-scores",
        type=float,
        help="shares of the median score of the image; default: 0 0.85 0.9",
        **values,
    )
    add("--priorities", nargs="+", choices=("area", "score"), help="default: both")
    add("--outline-offsets", type=float, help="in pixels; default: -2 -1.5 -1 0 1 1.5 2", **values)
    args = parser.parse_args()
    check_exist(args.ground_truth, *args.predictions)

    with quick_imports():
        from nucdet.tuning.report import OUTLINE_OFFSETS, tune_thresholds
        from nucdet.tuning.thresholds import Grid

    chosen = {field.name: getattr(args, field.name) for field in fields(Grid)}
    grid = Grid(**{name: values for name, values in chosen.items() if values})
    tune_thresholds(
        args.ground_truth,
        args.predictions,
        args.output_dir,
        grid,
        args.mask_thresholds,
        args.config_file,
        args.outline_offsets or OUTLINE_OFFSETS,
    )


if __name__ == "__main__":
    main()
