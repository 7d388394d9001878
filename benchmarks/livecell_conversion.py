#!/usr/bin/env python3
"""Time and peak memory of converting a synthetic data set of LIVECell's size.

python benchmarks/livecell_conversion.py [--images 3200] [--polygons 1000000]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

REPOSITORY = Path(__file__).parent.parent
HEIGHT, WIDTH = 520, 704
POINTS = 28  # average number of points of a polygon in the real data
TYPES = ("A172", "BT474", "BV2", "Huh7", "MCF7", "SHSY5Y", "SkBr3", "SKOV3")


def draw_release(root: Path, images: int, polygons: int) -> Path:
    """Write a synthetic train split in the official layout, and return the path of its JSON."""
    rng = np.random.default_rng(0)
    folder = root / "images" / "livecell_train_val_images"
    folder.mkdir(parents=True)
    image = rng.normal(128, 12, (HEIGHT, WIDTH)).clip(0, 255).astype(np.uint8)
    names = [f"{TYPES[i % len(TYPES)]}_Phase_{i:05d}.tif" for i in range(images)]
    tifffile.imwrite(folder / names[0], image, compression="lzw")
    for name in names[1:]:
        (folder / name).hardlink_to(folder / names[0])
    path = root / "livecell_coco_train.json"
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with path.open("w") as file:
        entries = (
            f'{{"id": {i}, "file_name": "{name}", "height": {HEIGHT}, "width": {WIDTH}}}'
            for i, name in enumerate(names)
        )
        file.write('{"info": {"year": "2021"}, "images": [' + ", ".join(entries))
        file.write('], "annotations": [')
        for i in range(polygons):
            radii = rng.uniform(4, 16) * rng.uniform(0.8, 1.2, (POINTS, 1))
            center = rng.uniform((20, 20), (WIDTH - 20, HEIGHT - 20))
            points = (center + ring * radii).round(2).ravel().tolist()
            file.write(", " if i else "")
            file.write(
                f'{{"id": {i}, "image_id": {i * images // polygons}, "category_id": 1, '
                f'"segmentation": [{points}], "area": 300.0, "bbox": [1, 1, 20, 20], "iscrowd": 0}}'
            )
        file.write("]}\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3200)
    parser.add_argument("--polygons", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "livecell"
        path = draw_release(root, args.images, args.polygons)
        print(f"{args.images} images, {args.polygons} polygons, {path.stat().st_size / 1e6:.0f} MB")
        start = time.perf_counter()
        tool = REPOSITORY / "tools" / "convert_dataset.py"
        subprocess.run([sys.executable, tool, "livecell", "--root", root], check=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"converted in {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of one CPU), "
            f"peak memory {used.ru_maxrss / 2**20:.2f} GiB"
        )


if __name__ == "__main__":
    main()
