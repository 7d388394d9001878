#!/usr/bin/env python
"""The scores of the published systems with a perfect network: the limits of their designs.

    python benchmarks/published_limits.py [--dataset dsb2018_val]

The foreground of the ground truth replaces the network's output: it is shrunk to the size of the
network's input and output, enlarged again as in the system, and separated into nuclei with the
config's threshold and method. "shares": a pixel of the output contains the share of its area that
is foreground; "yes or no": only whether that is more than half. "fitted", for FCN-8s, whose last
layer enlarges one map of scores eightfold: these scores are fitted to each image. The table is in
Kaggle mAP × 100.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import nucdet  # noqa: F401, before Detectron2: prevents its warnings of torch.jit

# isort: split
import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from markdown_tables import head, line
from torch import Tensor

from nucdet.arguments import command_parser
from nucdet.config import load_config
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.image_kinds import IMAGE_KINDS
from nucdet.errors import run_tool
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.scoring import score_image, summarize
from nucdet.modeling.semantic.networks.build import SEGMENTATION_REGISTRY
from nucdet.modeling.semantic.networks.fcn8s import FCN8s, bilinear_upsampling
from nucdet.modeling.semantic.pixelwise import resized_maps
from nucdet.modeling.semantic.segmentor import SemanticInstanceSegmentor
from nucdet.postprocessing.separation import Separation

CONFIGS = Path(__file__).parent.parent / "configs" / "DSB2018"
SYSTEMS = ("unet_small", "linknet_2", "fcn_small", "unet_cs230", "fcn8s_VGG16")


def perfect_maps(cfg: CfgNode, foreground: Tensor, hard: bool) -> Tensor:
    """The output of a perfect network, enlarged as in the system.

    Args:
        cfg: the config of the system.
        foreground: (H, W) float32, 0 or 1.
        hard: "yes or no" instead of "shares", see the module's docstring.

    Returns:
        (1, height, width) float32.
    """
    truth = foreground[None, None]
    size = np.array(foreground.shape)
    if cfg.INPUT.MIN_SIZE_TEST:
        size = np.round(size * (cfg.INPUT.MIN_SIZE_TEST / size.min())).astype(int)
    side = cfg.MODEL.SEMANTIC.RESIZE
    seen = (side, side) if side else tuple(size)
    stride = SEGMENTATION_REGISTRY.get(cfg.MODEL.SEGMENTATION.NETWORK).output_stride
    found = resized_maps(truth, tuple(length // stride for length in seen))
    if hard:
        found = (found > 0.5).float()
    if stride > 1:
        found = F.interpolate(found, seen, mode="bilinear", align_corners=False)
    return resized_maps(found, tuple(size))[0]


def fitted_maps(cfg: CfgNode, foreground: Tensor) -> Tensor:
    """The output of FCN-8s that fits a foreground best, by cross-entropy.

    Its scores have an eighth of the image's size. The layer that enlarges them is used as it is
    before training: bilinear interpolation.

    Args:
        cfg: the config of the system, which takes images at their own size.
        foreground: (H, W) float32, 0 or 1.

    Returns:
        (1, H, W) float32, probabilities.
    """
    enlarge = bilinear_upsampling(1, 8).requires_grad_(False)
    height, width = foreground.shape
    multiple = FCN8s.size_divisibility
    below, beside = -height % multiple, -width % multiple
    shares = F.avg_pool2d(F.pad(foreground[None, None], (0, beside, 0, below)), 8)
    scores = (8 * shares - 4).requires_grad_()
    solver = torch.optim.LBFGS([scores], max_iter=100, line_search_fn="strong_wolfe")

    def found() -> Tensor:
        return enlarge(scores)[0, :, :height, :width]

    def loss() -> Tensor:
        solver.zero_grad()
        # the second term keeps scores finite where all pixels are alike
        error = F.binary_cross_entropy_with_logits(found()[0], foreground)
        total = error + 1e-6 * scores.square().mean()
        total.backward()
        return total

    solver.step(loss)
    return found().detach().sigmoid()


def limit(
    cfg: CfgNode, truth: GroundTruth, output: Callable[[CfgNode, Tensor], Tensor]
) -> dict[str, float]:
    """The Kaggle metrics of a system, given its output for a foreground."""
    model = SemanticInstanceSegmentor(
        network=None,
        loss=lambda *_: {},
        separation=Separation(cfg),
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
    )
    results = []
    for image in truth.images.values():
        masks = truth.masks(image.image_id)
        foreground = torch.from_numpy(masks.to_label_map() > 0).float()
        maps = output(cfg, foreground)
        size = tuple(foreground.shape)
        found = model.prediction(maps, size, size)["instances"].pred_masks
        results.append(score_image(image, masks, found))
    return summarize(results)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--dataset", default="dsb2018_val")
    args = parser.parse_args()
    register_datasets()
    check_datasets([args.dataset])
    truth = GroundTruth.of_dataset(args.dataset)
    print(head(["no mistakes of", "output", "mAP", "at IoU 0.5", *IMAGE_KINDS]))
    for name in SYSTEMS:
        cfg = load_config(CONFIGS / f"{name}.yaml")
        outputs = {
            "shares": partial(perfect_maps, hard=False),
            "yes or no": partial(perfect_maps, hard=True),
        }
        if cfg.MODEL.SEGMENTATION.NETWORK == "FCN8s":
            outputs["fitted"] = fitted_maps
        for what, output in outputs.items():
            found = limit(cfg, truth, output)
            keys = ["mAP", "AP50", *(f"mAP-{kind}" for kind in IMAGE_KINDS)]
            scores = [f"{found[key]:.1f}" if key in found else "–" for key in keys]
            print(line([f"`{name}`", what, *scores]), flush=True)


if __name__ == "__main__":
    run_tool(main)
