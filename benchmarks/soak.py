#!/usr/bin/env python
"""Check that memory does not grow during a long prediction.

    OMP_NUM_THREADS=1 python benchmarks/soak.py [--images 300] [--most-growth 5]

tools/predict.py predicts synthetic images of several sizes and kinds and writes six formats; the
resident memory of its process is read after every 50 images. Growth is measured from the reading
after 100 images to the last one, in percent; if it exceeds --most-growth, the exit code is 1. For
one large TIFF, see benchmarks/large_image.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from nucdet.arguments import command_parser
from nucdet.data.conversion.synthetic_images import LOOKS, draw_image
from nucdet.errors import InputError, run_tool

STEP = 50
SETTLED = 100  # images, after which all modules are loaded and all caches filled
SIZES = (160, 256, 384, 520)


def draw(folder: Path, count: int) -> None:
    """Write synthetic images of all sizes and kinds in turn; after 40 they are repeated."""
    rng = np.random.default_rng(0)
    looks = list(LOOKS)
    drawn = [draw_image(rng, SIZES[i % len(SIZES)], looks[i % len(looks)])[0] for i in range(40)]
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:04d}.png"), drawn[i % len(drawn)][..., ::-1])


def resident(process: int, what: str = "VmRSS") -> float:
    """The memory of a process in MB; 0 if it has ended."""
    try:
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


def measure(count: int, most_growth: float) -> int:
    """Predict, print a row for each reading, and return the exit code."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        images, output = Path(place) / "images", Path(place) / "out"
        images.mkdir()
        draw(images, count)
        command = [sys.executable, "tools/predict.py", "--input", str(images)]
        command += ["--output", str(output), "--save", "label,overlay,csv,coco,geojson,roi"]
        start, peak = time.monotonic(), 0.0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            done = sum(1 for _ in output.glob(".records/[!.]*.json"))
            now, peak = resident(process.pid), resident(process.pid, "VmHWM") or peak
            if now and done >= STEP * (len(rows) + 1):
                rows.append([done, round(now), round(peak), round(time.monotonic() - start)])
            time.sleep(0.05)
    if process.returncode:
        raise InputError(f"{' '.join(command)}: exit code {process.returncode}")
    table = pd.DataFrame(rows, columns=["images", "MB resident", "MB at most", "s"])
    print(table.to_string(index=False))
    settled = table.loc[table["images"] >= SETTLED, "MB resident"]
    growth = 100 * (settled.iloc[-1] / settled.iloc[0] - 1)
    print(f"from {SETTLED} images to {count}: {growth:+.1f} % resident memory")
    return int(growth > most_growth)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--most-growth", type=float, default=5, help="in percent")
    args = parser.parse_args()
    if args.images < SETTLED + STEP:
        parser.error(f"--images {args.images}: expected {SETTLED + STEP} or more")
    run_tool(lambda: measure(args.images, args.most_growth))


if __name__ == "__main__":
    main()
