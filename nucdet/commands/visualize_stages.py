"""Draw what each part of CropRCNN does with images of DATASETS.TEST, from anchors to masks.

    %(prog)s --config-file DSB2018/crop_rcnn.yaml --num 5 \\
        MODEL.WEIGHTS output/dsb2018_crop_rcnn/model_best.pth
"""

from __future__ import annotations

from nucdet.arguments import add_config, add_output, command, command_parser


@command
def main() -> None:
    parser = command_parser(__doc__)
    add_config(parser)
    add_output(parser, "folder for one PNG per image", "output/visualize_stages")
    parser.add_argument(
        "--num", type=int, metavar="N", help="only the first N images (default: all)"
    )
    args = parser.parse_args()

    from nucdet.visualization.stage_images import visualize_stages

    files = visualize_stages(args.config_file, args.opts, args.output_dir, args.num)
    print(f"{len(files)} images in {args.output_dir}")


if __name__ == "__main__":
    main()
