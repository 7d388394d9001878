#!/usr/bin/env python
"""Scores of a network, or of any tool's label images, on data sets from other laboratories.

    OMP_NUM_THREADS=1 python benchmarks/generalisation.py --data DIR [DIR …] [--config-file FILE]
        [--sets NAME,NAME] [--limit N] [--diameter PIXELS|auto] [KEY VALUE …]
    python benchmarks/generalisation.py --data DIR --predictions DIR

A data set is a folder with the subfolders ``images`` and ``labels``, where the label maps have the
names of the images. Each DIR of --data is a data set, or contains some one or two levels below. The
network predicts as nucdet-predict does. Predictions of other tools are read from DIR/<set> for each
data set; if there is only one set, they may be in DIR itself.

Measures, all in nucdet/evaluation/generalisation.py: Kaggle mAP, AP, precision and recall at an IoU
of 0.5, panoptic quality, aggregated Jaccard index, error and bias of the count, bias of the outline
(predicted minus true radius). The last row is the mean over the sets. The files in the output
folder are generalisation.csv, .md and .png (bars, and the worst image of each set), and <set>.csv
(one row per image).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import markdown_tables
import numpy as np
import pandas as pd
from set_images import draw_sets
from tqdm import tqdm

from nucdet.arguments import command_parser, parse_diameter, parse_list
from nucdet.data.conversion.label_files import LabelledImage, pair_files
from nucdet.data.io.label_maps import read_label_map
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError, run_tool
from nucdet.evaluation.generalisation import (
    ImageScores,
    per_image_table,
    score_everything,
    summarize_set,
)
from nucdet.evaluation.ground_truth import TrueImage
from nucdet.files import write_atomically
from nucdet.predict import Segmenter, default_model
from nucdet.predict.options import check_diameter
from nucdet.structures import CroppedMasks
from nucdet.visualization.comparison import draw_comparison
from nucdet.visualization.files import save_png

_BARS = ["mAP", "AP50", "PQ", "AJI"]
_COUNTS = ["images", "nuclei", "masks", "found"]

# returns the masks of an image, given the name of its data set, its files and its (height, width)
Predictor = Callable[[str, LabelledImage, tuple[int, int]], CroppedMasks]


def find_sets(folders: list[Path], wanted: list[str] | None) -> dict[str, Path]:
    """Find data sets at or below the folders, by name, in the order of ``wanted`` or by name.

    Raises:
        FileNotFoundError, InputError: a folder does not exist, there are no data sets, a wanted one
            is missing, or two have the same name.
    """
    sets: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        for path in [folder, *folder.glob("*"), *folder.glob("*/*")]:
            if not ((path / "images").is_dir() and (path / "labels").is_dir()):
                continue
            name = path.resolve().name
            other = sets.setdefault(name, path)
            if other.resolve() != path.resolve():
                raise InputError(f"{path}: {other} has the same name; give one of them in --data")
    if not sets:
        names = ", ".join(map(str, folders))
        raise InputError(f"{names}: found no folder with images and labels in it; expected one")
    for name in wanted or ():
        if name not in sets:
            raise InputError(f"--sets: there is no {name!r}; found {', '.join(sorted(sets))}")
    return {name: sets[name] for name in wanted or sorted(sets)}


def read_masks(path: Path, size: tuple[int, int]) -> CroppedMasks:
    return CroppedMasks.from_label_map(read_label_map(path, size))


def network(args: argparse.Namespace) -> Predictor:
    """Predict as nucdet-predict does."""
    segmenter = Segmenter(args.config_file, overrides=args.opts)

    def predict(name: str, pair: LabelledImage, size: tuple[int, int]) -> CroppedMasks:
        return segmenter.predict_file(pair.image, diameter=args.diameter).pred_masks

    return predict


def other_tool(folder: Path, sets: dict[str, Path]) -> Predictor:
    """Read label maps, named as described in nucdet.data.conversion.label_files.

    Raises:
        FileNotFoundError, InputError: there is no folder for a set, or no label map in it; when the
            predictor is called, there is no label map for the image, or it does not fit.
    """
    folders = {name: folder / name for name in sets}
    if len(sets) == 1 and not (folder / next(iter(sets))).is_dir():
        folders = dict.fromkeys(sets, folder)
    files = {}
    for name, path in sets.items():
        pairs = pair_files(path / "images", folders[name]).pairs
        files[name] = {pair.image: pair.labels for pair in pairs}

    def predict(name: str, pair: LabelledImage, size: tuple[int, int]) -> CroppedMasks:
        if pair.image not in files[name]:
            raise InputError(
                f"{folders[name]}: no label map for {pair.image.name}, or several; expected one, "
                "empty where nothing was found"
            )
        return read_masks(files[name][pair.image], size)

    return predict


def labelled_images(path: Path, limit: int | None) -> list[LabelledImage]:
    """The images of a set, or ``limit`` of them at equal steps in the order of their names.

    Raises:
        InputError: an image has no labels, labels have no image, or names are not unique.
    """
    pairing = pair_files(path / "images", path / "labels")
    if pairing.problems:
        first, more = pairing.problems[0], len(pairing.problems) - 1
        raise InputError(f"{first.where}: {first.what}" + (f" (and {more} more)" if more else ""))
    pairs = pairing.pairs
    if limit is None or limit >= len(pairs):
        return pairs
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, limit).round().astype(int)]


class SetScores(NamedTuple):
    """Results of :func:`score_set`: scores, a drawing of the worst image, CPU time per image."""

    scores: list[ImageScores]
    worst: np.ndarray
    seconds: float


def score_set(name: str, pairs: list[LabelledImage], predict: Predictor) -> SetScores:
    """Score the images of a set; only the masks of the worst image so far are kept in memory."""
    scores, seconds = [], 0.0
    worst = None
    for number, pair in enumerate(tqdm(pairs, name, unit="image"), 1):
        image = read_image(pair.image)
        size = image.shape[:2]
        truth = read_masks(pair.labels, size)
        start = time.process_time()
        predicted = predict(name, pair, size)
        seconds += time.process_time() - start
        entry = score_everything(TrueImage(number, str(pair.image), *size), truth, predicted)
        scores.append(entry)
        if worst is None or entry.result.score < worst[0]:
            worst = entry.result.score, image, predicted, truth, f"{name}/{pair.image.stem}"
    return SetScores(scores, draw_comparison(*worst[1:]), seconds / len(pairs))


def with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """The table and, if there are several sets, a last row with mean scores and summed counts."""
    if len(table) == 1:
        return table
    mean = table.mean(numeric_only=True).to_dict() | table[_COUNTS].sum().to_dict()
    return pd.concat([table, pd.DataFrame([{"set": "mean", **mean}])], ignore_index=True)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    with write_atomically(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.3f")


def markdown(table: pd.DataFrame) -> str:
    rows = [
        [
            f"{value:,.0f}" if name in _COUNTS else value if name == "set" else f"{value:.1f}"
            for name, value in row.items()
        ]
        for row in table.to_dict("records")
    ]
    return markdown_tables.table(list(table.columns), rows)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument(
        "--predictions", type=Path, metavar="DIR", help="label maps to score, without a network"
    )
    parser.add_argument("--sets", type=parse_list, metavar="NAME,NAME")
    parser.add_argument("--limit", type=int, metavar="N", help="number of images of each set")
    parser.add_argument("--diameter", type=parse_diameter, metavar="PIXELS|auto")
    parser.add_argument("--name", help="name in the table; default: the config's stem")
    parser.add_argument("--output", type=Path, default=Path("output/generalisation"), metavar="DIR")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config file")
    args = parser.parse_args()

    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: expected 1 or more")
    if args.predictions and (args.config_file or args.opts or args.diameter):
        raise InputError("--predictions: no network is asked, so give no config and no diameter")
    check_diameter(args.diameter)
    sets = find_sets(args.data, args.sets)
    pairs = {name: labelled_images(path, args.limit) for name, path in sets.items()}
    predict = other_tool(args.predictions, sets) if args.predictions else network(args)
    name = args.name or Path(args.predictions or args.config_file or default_model()).stem
    rows, worst = [], []
    for key, members in pairs.items():
        result = score_set(key, members, predict)
        rows.append({"set": key, **summarize_set(result.scores)})
        if not args.predictions:
            rows[-1]["CPU s"] = result.seconds
        worst.append(result.worst)
        write_csv(per_image_table(result.scores), args.output / f"{key}.csv")
    table = with_mean(pd.DataFrame(rows))
    write_csv(table, args.output / "generalisation.csv")
    with write_atomically(args.output / "generalisation.md") as temporary:
        temporary.write_text(f"{name}\n\n{markdown(table)}", encoding="utf-8")
    save_png(args.output / "generalisation.png", draw_sets(table, _BARS, name, worst))
    print(name)
    print(table.to_string(index=False, float_format="{:.1f}".format))
    print(f"in {args.output}: generalisation.csv, .md, .png, and a csv of each set's images")


if __name__ == "__main__":
    run_tool(main)
