#!/usr/bin/env python
"""Choose thresholds, overlap rule and outline offset by the Kaggle score of cached predictions.

    python tools/train_net.py --config-file C.yaml --eval-only MODEL.WEIGHTS W.pth OUTPUT_DIR out \\
        MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.05 TEST.OVERLAP_ELIMINATION.ENABLED False
    python tools/tune_thresholds.py --ground-truth instances_val.json --config-file C.yaml \\
        --predictions out/inference/dsb2018_val/coco_instances_results.json --output-dir tuned

All combinations are tried; with several classes each then gets values of its own. Then outlines
are moved, for annotators who draw them wider or narrower (TEST.OUTLINE_OFFSET; a few labelled
images suffice). Writes thresholds.csv (every point), outline_offsets.csv and best.yaml (config
keys; a config of its own with --config-file).
Binary masks do not tell the mask threshold: to choose it, predict with several values of
MODEL.ROI_MASK_HEAD.MASK_THRESH and give all files with --mask-thresholds.
"""

from __future__ import annotations

import argparse
from dataclasses import fields

from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ground-truth", required=True, help="COCO JSON with annotations")
    parser.add_argument(
        "--predictions",
        required=True,
        nargs="+",
        metavar="FILE",
        help="coco_instances_results.json; a csv or label images have no scores to choose by",
    )
    parser.add_argument("--output-dir", required=True, help="for thresholds.csv and best.yaml")
    parser.add_argument("--config-file", help="best.yaml builds on it")
    values = {"nargs": "+", "metavar": "X"}
    parser.add_argument("--mask-thresholds", type=float, help="one for each file", **values)
    parser.add_argument("--score-thresholds", type=float, help="default: 0 0.05 … 0.95", **values)
    parser.add_argument("--min-areas", type=int, help="pixels; 0 10 20 30 50 100", **values)
    parser.add_argument(
        "--min-relative-areas", type=float, help="of the image's mean; 0 0.1 0.2 0.3", **values
    )
    parser.add_argument(
        "--min-relative-scores", type=float, help="of the image's median; 0 0.85 0.9", **values
    )
    parser.add_argument("--priorities", nargs="+", choices=("area", "score"), help="default: both")
    parser.add_argument(
        "--outline-offsets", type=float, help="pixels; -2 -1.5 -1 0 1 1.5 2", **values
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.tuning.report import OUTLINE_OFFSETS, tune_thresholds
    from nucdet.tuning.thresholds import Grid

    given = {field.name: getattr(args, field.name) for field in fields(Grid)}
    grid = Grid(**{name: values for name, values in given.items() if values})
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
    run_tool(main)
