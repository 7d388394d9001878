"""Find good values of config keys by short trainings: a grid, variants, or random sampling.

    %(prog)s --config-file FILE --grid MODEL.RPN.BATCH_SIZE_PER_IMAGE=128,256,512
    %(prog)s --config-file FILE --random SOLVER.BASE_LR='loguniform(1e-6,1e-2)' \\
        --trials 12 SOLVER.MAX_ITER 500
    %(prog)s --config-file FILE --variant 'as it is:' \\
        --variant 'no flips: INPUT.RANDOM_FLIP none' --seeds 1,2,3

Writes search.csv (one row per training), Optuna's plots and best.yaml into the output folder after
each setting; the study itself is study.db there. After an interruption, the same command continues,
also with further values. If it runs in several processes at once, they share the work.
Exit codes: 1: a training failed; 2: a mistake in the command or a config, found before any
training.
"""

from __future__ import annotations

import argparse

from nucdet.arguments import add_config, command, command_parser, parse_list, quick_imports


@command
def main() -> int:
    args = _argument_parser().parse_args()

    with quick_imports():
        from nucdet.tuning.search import search
        from nucdet.tuning.search_space import SearchSpace

    return search(
        args.config_file,
        args.output_dir,
        args.opts,
        space=SearchSpace(
            args.grid, args.variant, args.random, args.trials, args.sampler, args.seed
        ),
        seeds=args.seeds,
        metric=args.metric,
        retry_failed=args.retry_failed,
    )


def _argument_parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    add_config(parser)
    add = parser.add_argument
    add("--output-dir", metavar="DIR", help="default: OUTPUT_DIR of the config with _search")
    add(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V1,V2,…",
        help="values of a key; several --grid give all combinations",
    )
    add(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME: KEY VALUE …'",
        help="keys that change together; combined with every --grid",
    )
    add(
        "--random",
        action="append",
        default=[],
        metavar="KEY=DRAW",
        help="DRAW is loguniform(LOW,HIGH), uniform(LOW,HIGH) or choice(V1,V2,…)",
    )
    add("--trials", type=int, metavar="N", help="number of settings that --random draws")
    add(
        "--sampler",
        choices=["random", "tpe"],
        default="random",
        help="how --random draws: independently, or by Optuna's TPE, which learns from earlier "
        "trainings",
    )
    add("--seed", type=int, default=0, metavar="S", help="random seed of the draws (default: 0)")
    add(
        "--seeds",
        type=_seeds,
        default=[],
        metavar="S1,S2,…",
        help="train each setting with each of these seeds, for mean ± standard deviation",
    )
    add(
        "--metric",
        metavar="TASK/METRIC",
        help="metric of the last evaluation, higher is better (default: TEST.BEST_METRIC)",
    )
    add("--retry-failed", action="store_true", help="repeat trainings that failed")
    return parser


def _seeds(text: str) -> list[int]:
    parts = parse_list(text)
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected whole numbers from 0, as 1,2,3")
    return [int(part) for part in parts]


if __name__ == "__main__":
    main()
