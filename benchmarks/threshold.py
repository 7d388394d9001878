#!/usr/bin/env python3
"""Precision and recall of a model at each score threshold: the table of docs/threshold.md.

    nucdet-train --eval-only --config-file CONFIG MODEL.WEIGHTS WEIGHTS \\
        DATASETS.TEST "('dsb2018_val',)" MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.05 \\
        TEST.OVERLAP_ELIMINATION.ENABLED False OUTPUT_DIR raw
    python benchmarks/threshold.py --config-file CONFIG --ground-truth instances_val.json \\
        --predictions raw/inference/dsb2018_val/coco_instances_results.json

The network runs once, with all scores kept; each threshold is then applied to its masks with the
config's other rules. Precision, recall and F1 are over all nuclei, at an IoU above 0.5.
"""

from __future__ import annotations

import argparse

from markdown_tables import head, line

from nucdet.arguments import add_config, command, command_parser
from nucdet.config import load_config
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.predictions_io import Prediction, read_predictions
from nucdet.evaluation.scoring import ImageResult, score_image, summarize
from nucdet.postprocessing.overlap import OverlapElimination

THRESHOLDS = (0.05, 0.3, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--ground-truth", required=True, metavar="JSON")
    parser.add_argument("--predictions", required=True, metavar="JSON", help="COCO results")
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS, metavar="T")
    add_config(parser)
    args = parser.parse_args()
    truth = GroundTruth(args.ground_truth)
    predictions = list(read_predictions(args.predictions, truth))
    print(head(["threshold", "precision", "recall", "F1", "nuclei", "mAP"]))
    for threshold in (None, *args.thresholds):
        print(row(threshold, score(args, threshold, truth, predictions)), flush=True)


def score(
    args: argparse.Namespace,
    threshold: float | None,
    truth: GroundTruth,
    predictions: list[Prediction],
) -> list[ImageResult]:
    """The results of all images at one threshold; None: with the config's own rules."""
    chosen = [] if threshold is None else ["TEST.SCORE_THRESHOLD", str(threshold)]
    cfg = load_config(args.config_file, [*args.opts, *chosen])
    # an R-CNN applies its threshold inside the network, which does not run again here
    least = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST if "RCNN" in cfg.MODEL.META_ARCHITECTURE else -1.0
    eliminate = OverlapElimination(cfg)
    results = []
    for prediction in predictions:
        found = prediction.as_instances(truth)
        left = eliminate(found[found.scores > least]).pred_masks
        image = prediction.image
        results.append(score_image(image, truth.masks(image.image_id), left))
    return results


def row(threshold: float | None, results: list[ImageResult]) -> str:
    """A line of the table."""
    tp = sum(int(result.tp[0]) for result in results)
    true, found = (sum(getattr(result, n) for result in results) for n in ("n_true", "n_pred"))
    name = "the config's rules" if threshold is None else f"{threshold:g}"
    precision, recall = 100 * tp / max(found, 1), 100 * tp / max(true, 1)
    f1 = 200 * tp / max(true + found, 1)
    scores = [f"{value:.1f}" for value in (precision, recall, f1)]
    return line([name, *scores, str(found), f"{summarize(results)['mAP']:.1f}"])


if __name__ == "__main__":
    command(main)()
