"""Draw predictions beside the ground truth: matched, missed and false nuclei in three colors.

    %(prog)s --input output/x/inference/coco_instances_results.json \\
        --dataset dsb2018_val --output-dir output/x/images --sort worst --num 10
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
        help="COCO results .json, submission .csv or folder of label images, as nucdet-evaluate "
        "takes them",
    )
    ground_truth = parser.add_mutually_exclusive_group(required=True)
    ground_truth.add_argument(
        "--dataset", metavar="NAME", help="registered data set, e.g. dsb2018_val"
    )
    ground_truth.add_argument("--ground-truth", metavar="JSON", help="COCO JSON with annotations")
    parser.add_argument(
        "--image-root",
        metavar="DIR",
        help="folder that file names in the JSON start from (default: the data set's, or the "
        "folder above that of --ground-truth)",
    )
    add_output(parser, "one PNG an image")
    parser.add_argument(
        "--num", type=int, metavar="N", help="the first N in order of --sort (default: all)"
    )
    parser.add_argument(
        "--score-threshold", type=float, metavar="T", help="leave out predictions scored below T"
    )
    parser.add_argument(
        "--sort",
        choices=("name", "worst", "best"),
        default="name",
        help="by name, or by the image's Kaggle score (default: %(default)s)",
    )
    parser.add_argument(
        "--config-file",
        type=config_file,
        metavar="FILE",
        help="whose overlap rules (TEST.OVERLAP_ELIMINATION, TEST.OUTLINE_OFFSET) are applied to "
        "the predictions (default: the largest mask keeps what several claim)",
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
