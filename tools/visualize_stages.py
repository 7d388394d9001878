#!/usr/bin/env python
"""Draw what each part of CropRCNN makes of images of DATASETS.TEST, from anchors to masks.

python tools/visualize_stages.py --config-file configs/DSB2018/crop_rcnn.yaml --num 5 \\
    MODEL.WEIGHTS output/dsb2018_crop_rcnn/model_best.pth
"""

from __future__ import annotations

import argparse

from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="yaml of a CropRCNN")
    parser.add_argument(
        "--output-dir",
        default="output/visualize_stages",
        metavar="DIR",
        help="folder for one PNG an image (default: %(default)s)",
    )
    parser.add_argument("--num", type=int, metavar="N", help="the first N images (default: all)")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="pairs that override the config file"
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.modeling.crop_rcnn.stage_images import visualize_stages

    files = visualize_stages(args.config_file, args.opts, args.output_dir, args.num)
    print(f"{len(files)} images in {args.output_dir}")


if __name__ == "__main__":
    run_tool(main)
