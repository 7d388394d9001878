"""Score predictions of any tool: Kaggle score and errors, by kind of image and by nucleus size.

    %(prog)s --ground-truth instances_val.json --predictions P

P is a coco_instances_results.json, the predictions_coco.json or the folder of nucdet-predict, a
Kaggle or Sartorius csv, or any folder of label images.
"""

from __future__ import annotations

from nucdet.arguments import command, command_parser, quick_imports
from nucdet.files import check_exist


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument(
        "--ground-truth", required=True, metavar="JSON", help="COCO JSON with annotations"
    )
    parser.add_argument(
        "--predictions",
        required=True,
        metavar="P",
        help="COCO results .json, a COCO .json with scores, submission .csv (ImageId,EncodedPixels "
        "or id,predicted), or a folder of label images (PNG, TIFF or npy) with the names of the "
        "images, optionally followed by _label, _cp_masks or _seg",
    )
    parser.add_argument(
        "--priority",
        choices=("area", "score"),
        default="area",
        help="which mask keeps the pixels where masks overlap: the one with the largest area "
        "(default) or with the highest score",
    )
    parser.add_argument(
        "--per-image", metavar="CSV", help="also write a table with one row per image"
    )
    parser.add_argument("--json", metavar="JSON", help="also write all metrics")
    args = parser.parse_args()
    check_exist(args.ground_truth, args.predictions)

    with quick_imports():
        from nucdet.evaluation.offline import evaluate_predictions

    evaluate_predictions(
        args.ground_truth, args.predictions, args.priority, args.per_image, args.json
    )


if __name__ == "__main__":
    main()
