#!/usr/bin/env python
"""The effect of tiles on scores and time, compared with predicting the same images whole.

    OMP_NUM_THREADS=1 python benchmarks/tiling.py [--config-file FILE] [KEY VALUE …]

Parts of a data set's images form a mosaic, of fluorescence images only or of the other kinds only,
which is predicted at twice its size. "mAP" is the Kaggle score against the ground truth, "as whole"
the score against the prediction without tiles: 100 if tiles change no mask.
"""

from __future__ import annotations

import time
from pathlib import Path

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import numpy as np
import pandas as pd
from detectron2.data import MetadataCatalog

from nucdet.arguments import command_parser
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.image_kinds import FLUORESCENCE
from nucdet.data.io.reading import read_image
from nucdet.errors import InputError, run_tool
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.matching import Intersections, match
from nucdet.predict import Segmenter, planning

PIECE = 256
# largest side of an image that is predicted whole, and side of tiles, in pixels of the network's
# input
TILINGS = {"whole": (1 << 30, 1 << 30), "tiles of 1152": (1536, 1152), "tiles of 512": (600, 512)}


def mosaic(truth: GroundTruth, root: Path, ids: list[int], across: int) -> tuple[np.ndarray, ...]:
    """A mosaic of ``across`` × ``across`` random pieces: image (H, W, 3) and label map (H, W)."""
    rng = np.random.default_rng(0)
    side = across * PIECE
    canvas, labels = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.int64)
    for y in range(0, side, PIECE):
        for x in range(0, side, PIECE):
            image = truth.image(ids[rng.integers(len(ids))])
            masks = truth.masks(image.image_id).to_label_map()
            top, left = (int(rng.integers(length - PIECE + 1)) for length in masks.shape)
            source = np.s_[top : top + PIECE, left : left + PIECE]
            target = np.s_[y : y + PIECE, x : x + PIECE]
            canvas[target] = read_image(root / image.file_name)[source]
            labels[target] = np.where(masks[source], masks[source] + labels.max(), 0)
    return canvas, np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument("--dataset", default="dsb2018_val")
    parser.add_argument("--across", type=int, default=6, help="pieces of 256 pixels per side")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config file")
    args = parser.parse_args()

    register_datasets()
    check_datasets([args.dataset])
    segmenter = Segmenter(args.config_file, overrides=args.opts)
    truth = GroundTruth.of_dataset(args.dataset)
    root = Path(MetadataCatalog.get(args.dataset).image_root)
    usable = [i for i in truth.images.values() if min(i.height, i.width) >= PIECE]
    rows = []
    for name, wanted in ((FLUORESCENCE, True), ("other kinds", False)):
        ids = [i.image_id for i in usable if (i.kind == FLUORESCENCE) == wanted]
        if not ids:
            raise InputError(f"{args.dataset}: no image of {name} with {PIECE} pixels a side")
        image, labels = mosaic(truth, root, ids, args.across)
        whole = None
        for tiling, (planning.WHOLE_SIDE, planning.TILE_SIDE) in TILINGS.items():
            start = time.process_time()
            found = segmenter.predict(image, segmenter.cfg.TEST.NUCLEUS_DIAMETER / 2).label_map()
            seconds = time.process_time() - start
            whole = found if whole is None else whole
            row = {"images": name, "shown": tiling, "nuclei": labels.max(), "found": found.max()}
            row["mAP"] = 100 * match(Intersections.of_label_maps(labels, found)).score
            row["as whole"] = 100 * match(Intersections.of_label_maps(whole, found)).score
            rows.append({**row, "CPU s": seconds})
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":
    run_tool(main)
