"""Images for CropRCNN whose nuclei are rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from nucdet.structures import CroppedMasks

SIDE = 64

# (x0, y0, x1, y1)
BOXES = [(10, 12, 26, 30), (40, 30, 56, 50)]


@pytest.fixture(scope="session")
def make_image():
    """A function that makes an image as the mapper gives it: bright rectangles on a dark ground."""

    def make(boxes=BOXES, side: int = SIDE, **more) -> dict:
        dense = np.zeros((len(boxes), side, side), bool)
        for mask, (x0, y0, x1, y1) in zip(dense, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        truth = Instances((side, side))
        truth.gt_masks = CroppedMasks.from_dense(dense)
        truth.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        truth.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        grey = torch.full((1, side, side), 20, dtype=torch.uint8)
        grey[0, torch.from_numpy(dense.any(axis=0))] = 220
        return {"image": grey, "height": side, "width": side, "instances": truth, **more}

    return make
