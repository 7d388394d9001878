#!/usr/bin/env python
"""Draw the nuclei of DATASETS.TRAIN, as the network is given them or as they are annotated.

python tools/visualize_data.py --config-file configs/DSB2018/mask_rcnn_lite0_FPN.yaml --num 20
"""

from __future__ import annotations

import argparse

from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="yaml")
    parser.add_argument(
        "--source",
        choices=("training", "annotation"),
        default="training",
        help="training: after augmentation (default); annotation: as in the data set",
    )
    parser.add_argument(
        "--output-dir",
        default="output/visualize_data",
        metavar="DIR",
        help="folder for one PNG an image (default: %(default)s)",
    )
    parser.add_argument("--num", type=int, metavar="N", help="N images, by lot (default: all)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="K", help="of the lot and the augmentations"
    )
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="pairs that override the config file"
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.visualization import visualize_data

    files = visualize_data(
        args.config_file, args.opts, args.source, args.output_dir, args.num, args.seed
    )
    print(f"{len(files)} images in {args.output_dir}")


if __name__ == "__main__":
    run_tool(main)
