"""Train a config on DATASETS.TRAIN, or, with --eval-only, score MODEL.WEIGHTS on DATASETS.TEST.

    %(prog)s --config-file DSB2018/mask_rcnn_lite0_FPN.yaml SOLVER.MAX_ITER 500
    %(prog)s --config-file FILE --eval-only MODEL.WEIGHTS output/…/model_best.pth

All output goes to OUTPUT_DIR of the config.
"""

from __future__ import annotations

import argparse

from nucdet.arguments import add_config, add_devices, command, command_parser, quick_imports


@command
def main() -> None:
    args = argument_parser().parse_args()

    with quick_imports():
        from nucdet.train.run import run

    run(args)


def argument_parser() -> argparse.ArgumentParser:
    """A parser for :func:`nucdet.train.run.run`; argument names are the same as in Detectron2."""
    parser = command_parser(__doc__)
    add_config(parser, default="Detectron2's and nucdet's defaults")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--eval-only", action="store_true", help="evaluate without training")
    parser.add_argument(
        "--perturb",
        metavar="MEAN,POWER",
        help="with --eval-only: evaluate again with additive noise of this mean (as a fraction of "
        "the largest value of the image) and power (as a fraction of its variance), e.g. 0.05,0.1, "
        "and print the scores side by side",
    )
    add_devices(parser)
    return parser


if __name__ == "__main__":  # the trials of a search run this module with python -m
    main()
