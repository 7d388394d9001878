"""Draws the images of a data set as the network receives them in training, or as annotated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from nucdet.config import load_config
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.progress import ProgressBar
from nucdet.visualization.drawing import draw_instances
from nucdet.visualization.files import check_number, image_names, save_png

SOURCES = ("training", "annotation")


def visualize_data(
    config_file: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    source: str = "training",
    output_dir: str | os.PathLike[str] = "output/data",
    num: int | None = None,
    seed: int = 0,
) -> list[Path]:
    """Draw images of ``DATASETS.TRAIN`` with their nuclei, as ``<name of the image>.png``.

    Args:
        config_file: yaml.
        overrides: KEY VALUE pairs.
        source: "training": image and masks after augmentation, as the network receives them;
            "annotation": as stored in the data set.
        output_dir: created if missing; files of an earlier run are overwritten.
        num: number of images, chosen at random; None: all.
        seed: random seed of the selection and the augmentations. How an image is augmented depends
            only on the seed and on its index in the data set, not on which other images are drawn.

    Returns:
        The paths of the images, in the order of the data set.

    Raises:
        InputError, FileNotFoundError: an unknown data set or key, no images, or a missing file.
    """
    check_number(num)
    if seed < 0:
        raise InputError(f"found {seed} as the seed; expected 0 or more")
    cfg = load_config(config_file, overrides)
    entries = _entries(cfg.DATASETS.TRAIN)
    mapper = _mapper(cfg, source, entries)
    names = image_names([entry["file_name"] for entry in entries])
    chosen = np.random.default_rng(seed).permutation(len(entries))[:num]
    files = []
    for i in ProgressBar(sorted(chosen.tolist()), "drawing"):
        np.random.seed([seed, i])
        mapped = mapper(entries[i])
        image = _to_rgb(mapped["image"], mapper.image_format)
        files.append(Path(output_dir, names[i]))
        save_png(files[-1], draw_instances(image, mapped["instances"].gt_masks))
    return files


def _entries(names: Sequence[str]) -> list[dict[str, Any]]:
    register_datasets()
    check_datasets(names)
    entries = [entry for name in names for entry in DatasetCatalog.get(name)]
    if not entries:
        raise InputError(
            f"DATASETS.TRAIN {tuple(names)} holds no images, nothing to draw; "
            "name a data set that has some"
        )
    return entries


def _mapper(cfg: CfgNode, source: str, entries: Sequence[dict[str, Any]]) -> NucleusDatasetMapper:
    if source == "training":
        return NucleusDatasetMapper(cfg, augment=True, records=entries)
    if source == "annotation":
        return NucleusDatasetMapper(augmentations=[], with_truth=True, image_format="RGB")
    raise InputError(f"found source {source!r}; expected one of {SOURCES}")


def _to_rgb(image: torch.Tensor, image_format: str) -> np.ndarray:
    """Convert the network's input, uint8 (C, H, W) in INPUT.FORMAT, to RGB (H, W, 3)."""
    pixels = image.permute(1, 2, 0).numpy()
    if image_format == "BGR":
        pixels = pixels[:, :, ::-1]
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
