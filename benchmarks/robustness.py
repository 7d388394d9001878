#!/usr/bin/env python
"""The score of a model on perturbed images: noise, blur, gamma, inversion, JPEG, scale.

    python benchmarks/robustness.py [--config-file FILE] [--dataset dsb2018_val] [KEY VALUE …]

The row "clean" is the result of ``nucdet-train --eval-only``; each other row is the same evaluation
of images changed by one of the perturbations in nucdet/data/augment/perturbations.py. The count
error is the mean over the images of |masks - nuclei| / nuclei, the count bias that of (masks -
nuclei) / nuclei. The output folder gets robustness.csv, robustness.md and the files of each row.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import markdown_tables
import pandas as pd
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from nucdet.arguments import command_parser
from nucdet.config import load_config
from nucdet.data.augment.perturbations import parse_perturbation
from nucdet.data.datasets import check_datasets, register_coco_json, register_datasets
from nucdet.errors import InputError, run_tool
from nucdet.evaluation.generalisation import count_deviation
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.files import write_atomically, write_json
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.predict import default_model
from nucdet.train.perturbed import evaluate_perturbed, file_stem
from nucdet.train.trainer import NucleusTrainer

# the rows of the table after "clean"
PERTURBATIONS = (
    "noise:0.05",
    "blur:1",
    "blur:2",
    "gamma:0.5",
    "gamma:2",
    "invert",
    "jpeg:30",
    "scale:0.5",
    "scale:2",
    "seed:0.05,0.1",
)


def register_subset(name: str, limit: int, folder: Path) -> str:
    """Register ``limit`` images of a data set as a new data set, and return its name."""
    metadata = MetadataCatalog.get(name)
    ids = set(GroundTruth.of_dataset(name).evenly_over_kinds(limit))
    content = json.loads(Path(metadata.json_file).read_text(encoding="utf-8"))
    content["images"] = [image for image in content["images"] if image["id"] in ids]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    path = folder / f"{name}_{limit}.json"
    write_json(path, content)
    register_coco_json(path.stem, path, metadata.image_root, metadata.thing_classes)
    return path.stem


def configure(args: argparse.Namespace) -> CfgNode:
    cfg = load_config(args.config_file or default_model(), args.opts)
    if not cfg.MODEL.WEIGHTS:
        raise InputError("MODEL.WEIGHTS is empty; name those of a training")
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    register_datasets()
    check_datasets([args.dataset])
    name = args.dataset
    if args.limit is not None:
        name = register_subset(name, args.limit, args.output)
    cfg.DATASETS.TEST = (name,)
    cfg.TEST.EVALUATORS = ("kaggle",)
    cfg.OUTPUT_DIR = str(args.output)
    cfg.freeze()
    return cfg


def row(cfg: CfgNode, model: torch.nn.Module, perturbation: str) -> dict[str, float | str]:
    results = evaluate_perturbed(cfg, model, perturbation)
    stem = file_stem(perturbation)
    folder = Path(cfg.OUTPUT_DIR) / stem / "inference" / cfg.DATASETS.TEST[0]
    table = pd.read_csv(folder / "kaggle_per_image.csv")
    return {
        "perturbation": perturbation or stem,
        "mAP": results["kaggle"]["mAP"],
        "AP50": results["kaggle"]["AP50"],
        **count_deviation(table["n_true"].to_numpy(), table["n_pred"].to_numpy()),
    }


def markdown(table: pd.DataFrame) -> str:
    rows = [
        [values[0], *(f"{value:.1f}" for value in values[1:])]
        for values in table.itertuples(index=False)
    ]
    return markdown_tables.table(list(table.columns), rows)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument("--dataset", default="dsb2018_val")
    parser.add_argument("--limit", type=int, help="number of images, evenly over their kinds")
    parser.add_argument(
        "--perturbation", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=Path("output/robustness"), metavar="DIR")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config file")
    args = parser.parse_args()

    names = ["", *(args.perturbation or PERTURBATIONS)]
    for name in names[1:]:
        parse_perturbation(name)
    logging.getLogger("nucdet").setLevel(logging.ERROR)
    cfg = configure(args)
    model = NucleusTrainer.build_model(cfg)
    NucleusCheckpointer(model, complete=True).load(cfg.MODEL.WEIGHTS)
    table = pd.DataFrame([row(cfg, model, name) for name in tqdm(names, unit="row")])
    table.insert(2, "lost", table["mAP"].iloc[0] - table["mAP"])
    with write_atomically(args.output / "robustness.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.3f")
    with write_atomically(args.output / "robustness.md") as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
    print(table.to_string(index=False, float_format="{:.1f}".format))
    print(f"in {args.output}: robustness.csv, robustness.md")


if __name__ == "__main__":
    run_tool(main)
