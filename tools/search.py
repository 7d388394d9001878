#!/usr/bin/env python
"""Find good values of config keys by short trainings: a grid, variants, or random draws.

    python tools/search.py --config-file FILE --grid MODEL.RPN.BATCH_SIZE_PER_IMAGE=128,256,512
    python tools/search.py --config-file FILE --random SOLVER.BASE_LR='loguniform(1e-6,1e-2)' \\
        --trials 12 SOLVER.MAX_ITER 500
    python tools/search.py --config-file FILE --variant 'as it is:' \\
        --variant 'no flips: INPUT.RANDOM_FLIP none' --seeds 1,2,3

Writes search.csv (a row a training), Optuna's plots and best.yaml into the output folder after each
setting; the study itself is study.db there. The same command goes on where it was interrupted, and
run in several processes at once it shares the settings among them; values may be added. Exit code
1: a training failed; 2: a mistake in the command or a config, found before anything is trained.
"""

from __future__ import annotations

import argparse

from nucdet.errors import run_tool


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="yaml to start from")
    parser.add_argument(
        "--output-dir", metavar="DIR", help="default: OUTPUT_DIR of the config and _search"
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V1,V2,…",
        help="values of a key; several grids are combined",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME: KEY VALUE …'",
        help="keys that change together; combined with the grids",
    )
    parser.add_argument(
        "--random",
        action="append",
        default=[],
        metavar="KEY=DRAW",
        help="DRAW is loguniform(LOW,HIGH), uniform(LOW,HIGH) or choice(V1,V2,…)",
    )
    parser.add_argument("--trials", type=int, metavar="N", help="settings to draw with --random")
    parser.add_argument(
        "--sampler",
        choices=["random", "tpe"],
        default="random",
        help="of --random: independent draws, or Optuna's TPE, which learns from earlier ones",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the draws (0)")
    parser.add_argument(
        "--seeds",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[],
        metavar="S1,S2,…",
        help="train each setting with each of these, for mean ± standard deviation",
    )
    parser.add_argument(
        "--metric",
        metavar="TASK/METRIC",
        help="of the last evaluation, higher is better (default: TEST.BEST_METRIC)",
    )
    parser.add_argument("--retry-failed", action="store_true", help="train again what failed")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="pairs that override the config file"
    )
    args = parser.parse_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.tuning.search import search

    return search(
        args.config_file,
        args.output_dir,
        args.opts,
        grids=args.grid,
        variants=args.variant,
        draws=args.random,
        trials=args.trials,
        sampler=args.sampler,
        draw_seed=args.seed,
        seeds=args.seeds,
        metric=args.metric,
        retry_failed=args.retry_failed,
    )


if __name__ == "__main__":
    run_tool(main)
