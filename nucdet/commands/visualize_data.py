"""Draw the nuclei of DATASETS.TRAIN, as the network receives them or as they are annotated.

%(prog)s --config-file DSB2018/mask_rcnn_lite0_FPN.yaml --num 20
"""

from __future__ import annotations

from nucdet.arguments import add_config, add_output, command, command_parser


@command
def main() -> None:
    parser = command_parser(__doc__)
    add_config(parser)
    parser.add_argument(
        "--source",
        choices=("training", "annotation"),
        default="training",
        help="training: after augmentation (default); annotation: as in the data set",
    )
    add_output(parser, "folder for one PNG per image", "output/visualize_data")
    parser.add_argument("--num", type=int, metavar="N", help="N random images (default: all)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="K",
        help="random seed of the selection and the augmentations (default: 0)",
    )
    args = parser.parse_args()

    from nucdet.visualization.data_images import visualize_data

    files = visualize_data(
        args.config_file, args.opts, args.source, args.output_dir, args.num, args.seed
    )
    print(f"{len(files)} images in {args.output_dir}")


if __name__ == "__main__":
    main()
