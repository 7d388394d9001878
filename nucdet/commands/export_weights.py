"""Put a trained model into nucdet's model zoo: 16-bit weights, config and manifest.

    %(prog)s output/my_training/model_best.pth --name nuclei

The manifest is filled from the folder of the checkpoint (config.yaml, log.txt, losses.csv,
evaluation.csv) and from the data set; the options below add what is missing or correct it.
"""

from __future__ import annotations

import argparse
import shlex
from contextlib import suppress
from pathlib import Path

from nucdet.arguments import add_config, command, command_parser


@command
def main() -> None:
    args = _arguments()

    from nucdet.modeling.model_zoo import MODEL_ZOO
    from nucdet.train.export_weights import export_weights
    from nucdet.train.training_facts import UserFacts

    folder = args.output or MODEL_ZOO
    model = export_weights(
        args.checkpoint,
        args.name,
        folder,
        config_file=Path(args.config_file) if args.config_file else None,
        overrides=args.opts,
        user_facts=UserFacts(
            args.command, args.hours, args.hardware, args.seed, args.note, dict(args.score)
        ),
        familiar=args.familiarity,
        average_with=args.average_with,
    )
    print(model.manifest.read_text(encoding="utf-8"), end="")
    unknown = [fact for fact, value in model.read_manifest().items() if value is None]
    if unknown:
        print(f"not found beside the checkpoint, give it by --<name>: {', '.join(unknown)}")
    print(f"{model.weights}: {model.weights.stat().st_size / 1e6:.1f} MB")
    if folder != MODEL_ZOO:
        usage = ["--config-file", str(model.config), "MODEL.WEIGHTS", str(model.weights)]
        print(f"use it with {shlex.join(usage)}")


def _arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="model_best.pth or model_final.pth")
    add(
        "--name",
        required=True,
        help="name of the model after nucdet:// (the default model is called nuclei)",
    )
    add(
        "--average-with",
        type=Path,
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="further checkpoints of the same training: the model becomes the average of all, to "
        "which the scores of the training do not apply (give its scores with --score)",
    )
    add("--output", type=Path, metavar="DIR", help="folder to write to (default: nucdet/model_zoo)")
    add("--command", help="command of the training")
    add("--hours", type=float, help="duration of the training in hours")
    add("--hardware", help="hardware of the training")
    add("--seed", type=int, help="random seed of the training")
    add("--note", help="a remark for the manifest")
    add(
        "--familiarity",
        metavar="DATASET",
        help="let the model warn about images unlike its training images; the limit is chosen on "
        "this data set (e.g. dsb2018_val) so that 3 in 100 of its images receive a warning",
    )
    add(
        "--score",
        action="append",
        type=_score,
        default=[],
        metavar="NAME=VALUE",
        help="a score measured elsewhere; can be repeated",
    )
    add_config(parser, default="config.yaml beside the checkpoint")
    # the checkpoint comes before the options, the KEY VALUE pairs after them
    return parser.parse_intermixed_args()


def _score(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    with suppress(ValueError):
        if name:
            return name, float(value)
    raise argparse.ArgumentTypeError(f"found {text!r}; expected NAME=VALUE, as kaggle/mAP=55.7")


if __name__ == "__main__":
    main()
