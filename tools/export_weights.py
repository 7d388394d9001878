#!/usr/bin/env python3
"""Put a trained model into nucdet's zoo: weights in 16 bits, config, and a manifest of facts.

    python tools/export_weights.py output/my_training/model_best.pth --name dsb2018

The manifest takes what it can from the checkpoint's folder (config.yaml, log.txt, losses.csv,
evaluation.csv) and the data set; the options below tell the rest, or correct it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nucdet.errors import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="model_best.pth or model_final.pth")
    add("--name", required=True, help="what comes behind nucdet:// (the default model: dsb2018)")
    add("--config-file", type=Path, metavar="FILE", help="default: config.yaml beside it")
    add("--output", type=Path, metavar="DIR", help="default: nucdet/model_zoo")
    add("--command", help="the training's command")
    add("--hours", type=float, help="that the training took")
    add("--hardware", help="that it ran on")
    add("--seed", type=int, help="that it was started with")
    add("--note", help="anything else")
    add(
        "--score",
        action="append",
        type=_score,
        default=[],
        metavar="NAME=VALUE",
        help="a score measured elsewhere; may be given several times",
    )
    add("opts", nargs="*", metavar="KEY VALUE", help="pairs that override the config")
    # KEY VALUE pairs stand behind options, the checkpoint before them
    args = parser.parse_intermixed_args()

    # after argparse, so that --help and typing errors answer at once
    from nucdet.modeling.model_zoo import MODEL_ZOO
    from nucdet.train.export_weights import Told, export_weights

    told = Told(args.command, args.hours, args.hardware, args.seed, args.note, dict(args.score))
    folder = args.output or MODEL_ZOO
    model = export_weights(args.checkpoint, args.name, folder, args.config_file, args.opts, told)
    print(model.manifest.read_text(encoding="utf-8"), end="")
    unknown = [fact for fact, value in model.read_manifest().items() if value is None]
    if unknown:
        print(f"not found beside the checkpoint, tell it by --<name>: {', '.join(unknown)}")
    print(f"{model.weights}: {model.weights.stat().st_size / 1e6:.1f} MB")


def _score(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    return name, float(value)


if __name__ == "__main__":
    run_tool(main)
