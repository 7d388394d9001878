#!/usr/bin/env python
"""Time and memory of prediction: nucdet's networks for CPUs, stock Detectron2 Mask R-CNN R50-FPN.

    python benchmarks/inference.py --weights model_best.pth

All networks predict the same synthetic images and may find as many nuclei as these contain; the
number found is printed next to the number drawn. Each case runs in a separate process, from the
array in memory to the masks, --repeats times, of which the least CPU time counts. Memory is the
peak resident size of the process, including Python and PyTorch.

Stock Detectron2 has random weights, which by themselves find next to nothing. Therefore the last
norm of every residual block is scaled by 0.2, so that the features stay bounded, and with a score
threshold of 0 the best detections are kept, up to the number of drawn nuclei. nucdet's networks are
treated in the same way if no weights are given.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parent.parent
CONFIGS = REPOSITORY / "configs/DSB2018"
# name: height, width, desired number of nuclei; fewer are drawn, because some do not fit
CASES = {
    "256×256": (256, 256, 30),
    "520×696": (520, 696, 300),
    "2048×2048": (2048, 2048, 2000),
}
RESIDUAL_SCALE = 0.2


def draw(height: int, width: int, density: int) -> tuple[np.ndarray, int]:
    """A mosaic of synthetic images, and the number of nuclei in it.

    Args:
        height, width: size of the result.
        density: approximate number of nuclei to place; not all fit, and some are cut off at the
            edge.

    Returns:
        uint8 (height, width, 3), and the number of nuclei.
    """
    from nucdet.data.conversion.synthetic_images import draw_image
    from nucdet.data.image_kinds import FLUORESCENCE

    rng = np.random.default_rng(0)
    side = 256 if max(height, width) <= 256 else 512
    rows, columns = -(-height // side), -(-width // side)
    each = round(density * side**2 / (height * width))
    diameter = 0.6 * side / each**0.5
    image = np.zeros((rows * side, columns * side, 3), np.uint8)
    shown = 0
    for top in range(0, rows * side, side):
        for left in range(0, columns * side, side):
            piece, masks = draw_image(rng, side, FLUORESCENCE, each, diameter)
            image[top : top + side, left : left + side] = piece
            inside = masks.to_label_map()[: max(0, height - top), : max(0, width - left)]
            shown += int(np.count_nonzero(np.unique(inside)))
    return image[:height, :width], shown


# --- tools: each returns a function that predicts an image and returns the number of nuclei


def nucdet_network(name: str, weights: str | None, nuclei: int) -> Callable[[np.ndarray], int]:
    from nucdet.predict import Segmenter

    config = CONFIGS / f"{name}.yaml"
    if weights is not None:
        segmenter = Segmenter(config, weights, device="cpu")
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "random.pth"
            save_random(config, path)
            segmenter = Segmenter(config, path, found_anyway(nuclei), device="cpu")
    return lambda image: len(segmenter.predict(image))


def stock_r50(weights: str | None, nuclei: int) -> Callable[[np.ndarray], int]:
    from detectron2.engine import DefaultPredictor

    from nucdet.config import load_config

    overrides = ["MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.DEVICE", "cpu"]
    cfg = load_config(CONFIGS / "mask_rcnn_R_50_FPN.yaml", overrides + found_anyway(nuclei))
    with tempfile.TemporaryDirectory() as folder:
        cfg.MODEL.WEIGHTS = str(Path(folder) / "random.pth")
        save_random(CONFIGS / "mask_rcnn_R_50_FPN.yaml", Path(cfg.MODEL.WEIGHTS))
        predictor = DefaultPredictor(cfg)

    def predict(image: np.ndarray) -> int:
        # Detectron2's resize would shrink large images; here all networks get the same pixels
        predictor.aug.short_edge_length = (max(512, min(image.shape[:2])),) * 2
        predictor.aug.max_size = 4096
        return len(predictor(image[:, :, ::-1])["instances"])

    return predict


def default_model(weights: str | None, nuclei: int) -> Callable[[np.ndarray], int]:
    from nucdet.predict import Segmenter

    segmenter = Segmenter(device="cpu")
    return lambda image: len(segmenter.predict(image))


TOOLS = {
    "nucdet://nuclei": default_model,
    "nucdet lite0": partial(nucdet_network, "mask_rcnn_lite0_FPN"),
    "nucdet CropRCNN": partial(nucdet_network, "crop_rcnn"),
    "Detectron2 R50-FPN": stock_r50,
}


def found_anyway(nuclei: int) -> list[str]:
    """Config overrides that make random weights find as many nuclei as there are."""
    limits = {
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.9,
        "TEST.DETECTIONS_PER_IMAGE": nuclei,
        "MODEL.RPN.POST_NMS_TOPK_TEST": max(1000, 2 * nuclei),
        "MODEL.RPN.PRE_NMS_TOPK_TEST": max(2000, 4 * nuclei),
        "MODEL.RPN.NMS_THRESH": 0.7,  # CropRCNN's would leave too few
        "MODEL.NUCLEUS_FILTER.MODE": "rescore",
    }
    return [text for pair in limits.items() for text in (pair[0], str(pair[1]))]


def save_random(config: Path, path: Path) -> None:
    import torch
    from detectron2.modeling import build_model
    from detectron2.modeling.backbone.resnet import BottleneckBlock

    from nucdet.config import load_config

    torch.manual_seed(0)
    model = build_model(load_config(config, ["MODEL.DEVICE", "cpu"]))
    for block in model.modules():
        if isinstance(block, BottleneckBlock):
            block.conv3.norm.weight *= RESIDUAL_SCALE
    torch.save({"model": model.state_dict()}, path)


# --- measuring


def measure(tool: str, case: str, weights: str | None, repeats: int) -> dict[str, float]:
    """CPU seconds, peak memory of this process in GB, and the numbers of nuclei drawn and found."""
    image, nuclei = draw(*CASES[case])
    predict = TOOLS[tool](weights, nuclei)
    predict(image[:256, :256])
    times = []
    while len(times) < repeats:
        start = time.process_time()
        found = predict(image)
        times.append(time.process_time() - start)
    # kilobytes on Linux, bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    return {"seconds": min(times), "gigabytes": peak, "drawn": nuclei, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="a checkpoint of mask_rcnn_lite0_FPN")
    parser.add_argument("--crop-weights", metavar="WEIGHTS", help="a checkpoint of crop_rcnn")
    parser.add_argument("--repeats", type=int, default=2, help="runs, of which the best counts")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one")
    parser.add_argument("--measure", choices=TOOLS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        logging.disable()
        warnings.simplefilter("ignore")
        result = measure(args.measure, args.case[0], args.weights, args.repeats)
        print(json.dumps(result))
        return

    import torch

    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    print(f"{'':12}{'':20}{'CPU s':>9}{'GB':>7}{'drawn':>7}{'found':>7}{'time':>7}{'memory':>8}")
    for case in args.case or CASES:
        ours = None
        for tool in TOOLS:
            command = [sys.executable, __file__, "--measure", tool, "--case", case]
            command += ["--repeats", str(args.repeats)]
            weights = args.crop_weights if tool == "nucdet CropRCNN" else args.weights
            command += ["--weights", weights] if weights else []
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{tool}, {case}:\n{done.stderr}")
            r = json.loads(done.stdout.splitlines()[-1])
            ours = ours or r
            print(
                f"{case:12}{tool:20}{r['seconds']:9.2f}{r['gigabytes']:7.2f}{r['drawn']:7}{r['found']:7}"
                f"{r['seconds'] / ours['seconds']:6.1f}×{r['gigabytes'] / ours['gigabytes']:7.1f}×",
                flush=True,
            )


if __name__ == "__main__":
    main()
