#!/usr/bin/env python
"""Draw two sheets, an image of each kind of microscopy on each.

results.jpg of the README has the image nearest to its kind's mean score, failures.jpg of the model
card the one with the lowest score.

    nucdet-train --eval-only --config-file nucdet/model_zoo/nuclei.yaml OUTPUT_DIR output/val
    nucdet-visualize-results --dataset dsb2018_val --num 67 --output-dir output/val_images \\
        --input output/val/inference/dsb2018_val/coco_instances_results.json
    python docs/figures/draw_results.py output/val/inference/dsb2018_val/kaggle_per_image.csv \\
        output/val_images
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from PIL import Image

WIDTH = 1200  # of two comparisons side by side, pixels
GAP = 8


def main(table: Path, folder: Path, target: Path) -> None:
    """Draw both sheets.

    Args:
        table: kaggle_per_image.csv of an evaluation.
        folder: of the comparisons that nucdet-visualize-results has drawn.
        target: the folder to write to.
    """
    scores = pd.read_csv(table)
    usual, worst = [], []
    for _, rows in scores.groupby("kind"):
        nearest = (rows["score"] - rows["score"].mean()).abs().idxmin()
        usual.append(str(rows.loc[nearest, "id"]))
        worst.append(str(rows.loc[rows["score"].idxmin(), "id"]))
    draw_sheet(folder, usual, target / "results.jpg")
    draw_sheet(folder, worst, target / "failures.jpg")


def draw_sheet(folder: Path, chosen: list[str], output: Path) -> None:
    """Put the chosen comparisons on one sheet, two a row."""
    width = (WIDTH - GAP) // 2
    parts = []
    for stem in chosen:
        image = Image.open(folder / f"{stem}.png").convert("RGB")
        parts.append(image.resize((width, round(image.height * width / image.width))))
    rows = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    heights = [max(part.height for part in row) for row in rows]
    sheet = Image.new("RGB", (WIDTH, sum(heights) + GAP * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for i, part in enumerate(row):
            sheet.paste(part, (i * (width + GAP), top))
        top += height + GAP
    sheet.save(output, quality=82)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(__file__).parent)
