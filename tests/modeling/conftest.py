"""CropRCNN small enough for tests."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

import nucdet  # noqa: F401  (fills the registries)
from nucdet.config import load_config

TINY = {
    "MODEL.WEIGHTS": "",
    "MODEL.DEVICE": "cpu",
    # with fewer than 8, torch 2.15 crashes on CPUs without AVX-512, in the gradient of a 1×1
    # convolution with stride 2
    "MODEL.CROP_RCNN.BACKBONE_CHANNELS": "(8, 8, 8)",
    "MODEL.CROP_RCNN.UNET_CHANNELS": "(4, 4, 4, 4)",
    "MODEL.RPN.CONV_DIMS": "[8]",
}


@pytest.fixture(scope="session")
def crop_cfg(repository):
    """A function from KEY VALUE pairs to the config of a tiny CropRCNN."""

    def load(*overrides: str, config: str = "crop_rcnn"):
        pairs = [text for pair in TINY.items() for text in pair]
        path = repository / f"configs/DSB2018/{config}.yaml"
        return load_config(path, [*pairs, *overrides])

    return load


@pytest.fixture(scope="session")
def crop_rcnn(crop_cfg):
    """A function from KEY VALUE pairs to a tiny CropRCNN, each time with the same weights."""

    def build(*overrides: str, config: str = "crop_rcnn"):
        torch.manual_seed(0)
        return build_model(crop_cfg(*overrides, config=config))

    return build
