#!/usr/bin/env python
"""Time and memory of predicting a TIFF that is too large to be held in memory as a whole.

    OMP_NUM_THREADS=1 python benchmarks/large_image.py [--side 12000] [KEY VALUE …]

The image is dark, with synthetic patches of 512 × 512 pixels at regular distances. The run is that
of nucdet-predict, from the file to label image, overlay and table; memory is the peak resident size
of the process, including Python and PyTorch.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from nucdet.arguments import command_parser
from nucdet.data.conversion.synthetic_images import draw_image
from nucdet.data.image_kinds import FLUORESCENCE
from nucdet.errors import run_tool
from nucdet.predict import Segmenter
from nucdet.predict.inputs import find_inputs
from nucdet.predict.job import Job
from nucdet.predict.options import PredictOptions
from nucdet.predict.run import predict_images

PIECE = 512


def write_image(path: Path, side: int, every: int) -> int:
    """Write a grey TIFF in compressed tiles, with nuclei in every ``every``-th tile both ways.

    Returns:
        The number of nuclei in the image.
    """
    drawn, truth = draw_image(np.random.default_rng(0), PIECE, FLUORESCENCE)
    drawn = drawn[..., 0]
    background = np.full_like(drawn, np.median(drawn))
    rows = -(-side // PIECE)
    # a tile that would be cut by the edge stays dark
    filled = range(0, side // PIECE, every)

    def pieces() -> Iterator[np.ndarray]:
        for row in range(rows):
            for column in range(rows):
                yield drawn if row in filled and column in filled else background

    size = {"shape": (side, side), "tile": (PIECE, PIECE)}
    tifffile.imwrite(path, pieces(), dtype=drawn.dtype, compression="zlib", **size)
    return len(truth) * len(filled) ** 2


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument("--side", type=int, default=12_000, help="side of the image, pixels")
    parser.add_argument("--every", type=int, default=3, help="steps between tiles with nuclei")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config file")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "large.tif", Path(folder) / "out"
        output.mkdir()
        shown = write_image(path, args.side, args.every)
        segmenter = Segmenter(args.config_file, overrides=args.opts)
        job = Job(PredictOptions(output), tuple(find_inputs([str(path)], output)))
        wall, cpu = time.perf_counter(), time.process_time()
        predict_images(job, lambda: segmenter)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found = len(pd.read_csv(output / "large.csv"))
    # kilobytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    print(
        f"{args.side} × {args.side}: {wall:.0f} s ({cpu:.0f} s of CPU time), peak {peak:.2f} GB; "
        f"{shown} nuclei drawn, {found} found"
    )


if __name__ == "__main__":
    run_tool(main)
