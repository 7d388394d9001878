#!/usr/bin/env python
"""How many images in each folder get the warning "unlike the images that this model knows".

    OMP_NUM_THREADS=1 python benchmarks/familiarity.py FOLDER… [--drawn] [--photographs]
        [--config-file FILE] [--weights FILE] [--csv FILE]

Folders are searched recursively, and their images are predicted as by nucdet-predict. --drawn adds
synthetic textures and blank images (noise or constant), --photographs those that scikit-image
ships; two of these (cell, ihc) are microscopy images of other kinds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage.data
from tqdm import tqdm

from nucdet.arguments import command_parser
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError, run_tool
from nucdet.predict import Segmenter
from nucdet.predict.inputs import find_inputs

_SIDE = 512
# scikit-image's files that are left out: frames of a film, test files for readers, a disparity map
_LEFT_OUT = ("multipage", "no_time", "chessboard_GRAY", "lbpcascade", "motorcycle_disp")


def drawn() -> Iterator[tuple[str, str, np.ndarray]]:
    """(set, name, image) of synthetic textures, noise and constant images."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(_SIDE, _SIDE)).astype(np.float32)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    for value in (0, 128, 255):
        yield "blank", f"constant {value}", np.full((_SIDE, _SIDE), value, np.uint8)
    for level in (2, 20, 200):
        yield "blank", f"photons {level}", random.poisson(level, (_SIDE, _SIDE)).astype(np.uint16)
    light = 1 - ((x / _SIDE - 0.5) ** 2 + (y / _SIDE - 0.5) ** 2)
    yield "blank", "uneven light", random.poisson(100 * light).astype(np.uint16)
    for sigma in (2, 4, 8, 16, 32):
        yield "drawn", f"clouds {sigma}", cv2.GaussianBlur(noise, (0, 0), sigma)
    for period in (8, 16, 32, 64):
        squares = (y // period + x // period) % 2 * np.uint8(255)
        yield "drawn", f"chessboard {period}", squares
    for radius in (6, 12, 24):
        for name, thickness in (("rings", 2), ("discs", -1)):
            image = np.full((_SIDE, _SIDE), 200, np.uint8)
            for center in random.integers(0, _SIDE, (60, 2)):
                cv2.circle(image, center.tolist(), radius, 60, thickness)
            yield "drawn", f"{name} {radius}", image
    for number in (150, 400, 900):
        image = np.clip(140 + 4 * noise, 0, 255).astype(np.uint8)
        for center in random.integers(0, _SIDE, (number, 2)):
            radius = int(random.integers(1, 4))
            cv2.circle(image, center.tolist(), radius + 1, 210, 1)
            cv2.circle(image, center.tolist(), radius, 60, -1)
        yield "drawn", f"dust {number}", cv2.GaussianBlur(image, (0, 0), 0.8)
    for name, number, width in (("scratches", 300, 1), ("fibres", 80, 4)):
        image = np.full((_SIDE, _SIDE), 20, np.uint8)
        for ends in random.integers(0, _SIDE, (number, 2, 2)).tolist():
            cv2.line(image, *ends, 200, width)
        yield "drawn", name, cv2.GaussianBlur(image, (0, 0), 1)


def photographs() -> Iterator[tuple[str, str, np.ndarray]]:
    """(set, name, image) of scikit-image's photographs, cropped to at most 512 pixels a side."""
    for path in sorted(Path(skimage.data.__file__).parent.iterdir()):
        if path.suffix in (".png", ".jpg") and not path.stem.startswith(_LEFT_OUT):
            image = read_image(path)
            top, left = (max(0, (length - _SIDE) // 2) for length in image.shape[:2])
            yield "photographs", path.stem, image[top : top + _SIDE, left : left + _SIDE]


def in_folders(folders: list[Path]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(folder, name, image) of the images in the folders."""
    for folder in folders:
        for file in find_inputs([str(folder)], folder / "none"):
            yield str(folder), file.name, read_image(file.path)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Statistics with one row per set."""
    groups = table.groupby("set", sort=False)
    return pd.DataFrame(
        {
            "images": groups.size(),
            "warned": groups["warned"].sum(),
            "warned %": 100 * groups["warned"].mean(),
            "familiarity": groups["familiarity"].median(),
            "lowest": groups["familiarity"].min(),
            "nuclei": groups["nuclei"].sum(),
            "CPU s": groups["CPU s"].mean(),
        }
    )


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--photographs", action="store_true")
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument("--weights", metavar="FILE", help="default: those of the config")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row per image")
    args = parser.parse_args()

    segmenter = Segmenter(args.config_file, args.weights)
    rows = []
    images = [in_folders(args.folders)]
    images += [drawn()] if args.drawn else []
    images += [photographs()] if args.photographs else []
    for name, image_name, image in tqdm((row for part in images for row in part), unit="image"):
        start = time.process_time()
        found = segmenter.predict(image)
        rows.append(
            {
                "set": name,
                "image": image_name,
                "nuclei": len(found),
                "score": float(found.scores.mean()) if len(found) else np.nan,
                "familiarity": np.nan if found.familiarity is None else found.familiarity,
                "warned": bool(found.warning),
                "CPU s": time.process_time() - start,
            }
        )
    if not rows:
        raise InputError("no images: give folders, --drawn or --photographs")
    table = pd.DataFrame(rows)
    if args.csv:
        table.to_csv(args.csv, index=False, float_format="%.3f")
    print(summary(table).to_string(float_format="{:.2f}".format))


if __name__ == "__main__":
    run_tool(main)
