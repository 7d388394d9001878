"""Draw predictions next to the ground truth, with matched, missed and false nuclei in color.

    %(prog)s --dataset dsb2018_val --output-dir output/x/images --sort worst --num 10 \\
        --input output/x/inference/dsb2018_val/coco_instances_results.json
"""

from __future__ import annotations

from nucdet.arguments import add_output, command, command_parser, config_file


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument(
        "--input",
        required=True,
        metavar="P",
        help="COCO results .json, submission .csv or folder of label images, as in nucdet-evaluate",
    )
    ground_truth = parser.add_mutually_exclusive_group(required=True)
    ground_truth.add_argument(
        "--dataset", metavar="NAME", help="registered data set, e.g. dsb2018_val"
    )
    ground_truth.add_argument("--ground-truth", metavar="JSON", help="COCO JSON with annotations")
    parser.add_argument(
        "--image-root",
        metavar="DIR",
        help="folder to which file names in the JSON are relative (default: that of the data set, "
        "or the parent of the folder of --ground-truth)",
    )
    add_output(parser, "folder for one PNG per image")
    parser.add_argument(
        "--num",
        type=int,
        metavar="N",
        help="only the first N images in the order of --sort (default: all)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="T",
        help="leave out predictions with a score below T",
    )
    parser.add_argument(
        "--sort",
        choices=("name", "worst", "best"),
        default="name",
        help="order of the images: by name or by Kaggle score (default: %(default)s)",
    )
    parser.add_argument(
        "--config-file",
        type=config_file,
        metavar="FILE",
        help="config whose overlap rules (TEST.OVERLAP_ELIMINATION, TEST.OUTLINE_OFFSET) apply to "
        "the predictions (default: where masks overlap, the largest one keeps the pixels)",
    )
    args = parser.parse_args()

    from nucdet.config import load_config
    from nucdet.postprocessing.overlap import OverlapElimination
    from nucdet.visualization.result_images import TruthSource, visualize_results

    elimination = None
    if args.config_file:
        elimination = OverlapElimination(load_config(args.config_file))
    files = visualize_results(
        args.input,
        args.output_dir,
        TruthSource(args.dataset, args.ground_truth, args.image_root),
        num=args.num,
        score_threshold=args.score_threshold,
        sort=args.sort,
        elimination=elimination,
    )
    print(f"{len(files)} images in {args.output_dir}")


if __name__ == "__main__":
    main()
