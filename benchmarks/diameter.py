#!/usr/bin/env python
"""The effect of --diameter at other magnifications: the Kaggle score without it, with the right
number, and with "auto".

    OMP_NUM_THREADS=1 python benchmarks/diameter.py [--config-file FILE] [KEY VALUE …]

Images of a data set, chosen evenly over their kinds, and their ground truth are rescaled by 0.25 to
4 (--scales). Reduced images are padded by reflection to their original size (at most 512 pixels),
because small images would be enlarged anyway. Of enlarged images, only the central part is used, at
most 512 pixels a side (--side; a factor of 8 needs more). "Right" is the median diameter of the
true nuclei in the rescaled image.
"""

from __future__ import annotations

import time
from pathlib import Path

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import numpy as np
import pandas as pd
from detectron2.data import MetadataCatalog
from skimage.measure import label
from tqdm import tqdm

from nucdet.arguments import command_parser
from nucdet.data.augment.geometry import Resize
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.io.reading import read_image
from nucdet.errors import run_tool
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.matching import Intersections, match
from nucdet.predict import Segmenter

MIRRORED = 512
MODES = ("none", "right", "auto")


def show(
    image: np.ndarray, truth: np.ndarray, scale: float, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rescale an image (H, W, 3) and its label map (H, W) as the module's docstring says."""
    side = int(largest / scale)
    top, left = (max(0, (length - side) // 2) for length in truth.shape)
    window = np.s_[top : top + side, left : left + side]
    before = tuple(min(MIRRORED, length) for length in truth[window].shape)
    resize = Resize(lambda height, width: scale).get_transform(image[window])
    image = resize.apply_image(image[window])
    # the label under the center of each pixel
    places = [
        ((np.arange(now) + 0.5) * length / now).astype(int)
        for now, length in zip(image.shape, truth[window].shape, strict=False)
    ]
    truth = truth[window][np.ix_(*places)]
    more = [(0, max(0, b - now)) for b, now in zip(before, truth.shape, strict=True)]
    truth = label(np.pad(truth, more, "symmetric"))
    return np.pad(image, [*more, (0, 0)], "symmetric"), truth


def rows(
    segmenter: Segmenter, dataset: str, limit: int, scales: list[float], largest: int
) -> list[dict[str, float | str]]:
    truth, root = GroundTruth.of_dataset(dataset), MetadataCatalog.get(dataset).image_root
    result = []
    for image_id in tqdm(truth.evenly_over_kinds(limit), unit="image"):
        image = read_image(Path(root) / truth.image(image_id).file_name)
        labels = truth.masks(image_id).to_label_map()
        for scale in scales:
            seen, expected = show(image, labels, scale, largest)
            areas = np.bincount(expected.ravel())[1:]
            if not len(areas):
                continue
            right = max(1.0, float(np.median(2 * np.sqrt(areas / np.pi))))
            for mode, diameter in zip(MODES, (None, right, "auto"), strict=True):
                start = time.process_time()
                found = segmenter.predict(seen, diameter)
                seconds = time.process_time() - start
                pairs = Intersections.of_label_maps(expected, found.label_map())
                result.append(
                    {
                        "shown at": scale,
                        "mode": mode,
                        "image": image_id,
                        "right": right,
                        "used": found.diameter or np.nan,
                        "score": 100 * match(pairs).score,
                        "CPU s": seconds,
                    }
                )
    return result


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row per scale: mean scores and times, and how often "auto" rescaled and how exactly."""
    means = table.pivot_table(["score", "CPU s"], "shown at", "mode")
    auto = table[table["mode"] == "auto"]
    auto = auto.assign(ratio=auto["used"] / auto["right"]).groupby("shown at")
    return means["score"][list(MODES)].assign(
        **{
            "diameter": auto["right"].median(),
            "auto rescaled %": 100 * auto["used"].count() / auto.size(),
            "its diameter / right": auto["ratio"].median(),
            **{f"CPU s {mode}": means["CPU s"][mode] for mode in MODES},
        }
    )


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config-file", help="default: the model that ships with nucdet")
    parser.add_argument("--dataset", default="dsb2018_val")
    parser.add_argument("--limit", type=int, default=20, help="number of images")
    parser.add_argument(
        "--scales",
        type=lambda text: [float(number) for number in text.split(",")],
        default=[0.25, 0.5, 1, 2, 4],
        metavar="X,X",
    )
    parser.add_argument("--side", type=int, default=512, help="largest side of an image, pixels")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the scores of each image")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config file")
    args = parser.parse_args()

    register_datasets()
    check_datasets([args.dataset])
    segmenter = Segmenter(args.config_file, overrides=args.opts)
    table = pd.DataFrame(rows(segmenter, args.dataset, args.limit, args.scales, args.side))
    if args.csv:
        table.to_csv(args.csv, index=False, float_format="%.3f")
    print(summary(table).to_string(float_format="{:.1f}".format))


if __name__ == "__main__":
    run_tool(main)
