"""Small data sets whose nuclei are rows of pixels, so that areas and IoU are counted by eye."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from nucdet.structures import CroppedMasks

SIZE = (4, 40)


def masks_of(*spans: tuple[int, int, int], size: tuple[int, int] = SIZE) -> CroppedMasks:
    """Masks of one pixel row each: (row, first column, column after the last)."""
    dense = np.zeros((len(spans), *size), bool)
    for mask, (row, start, stop) in zip(dense, spans, strict=True):
        mask[row, start:stop] = True
    return CroppedMasks.from_dense(dense)


def output_of(masks: CroppedMasks, scores=None, classes=None) -> dict:
    """A model's output for one image."""
    instances = Instances(masks.image_size)
    instances.pred_masks = masks
    instances.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    instances.scores = torch.as_tensor(np.ones(len(masks)) if scores is None else scores)
    instances.pred_classes = torch.as_tensor(classes or [0] * len(masks))
    return {"instances": instances}


@pytest.fixture
def spans():
    """Spans to masks, as a fixture since test folders are no packages."""
    return masks_of


@pytest.fixture
def as_output():
    return output_of


@pytest.fixture
def make_truth(tmp_path):
    """Write a COCO JSON with images 1, 2, … of the given masks and register it as ``toy_val``."""

    def make(*images: CroppedMasks, kinds=(), categories=("nucleus",), classes=None):
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
        }
        for image_id, masks in enumerate(images, 1):
            height, width = masks.image_size
            entry = {"id": image_id, "file_name": f"pictures/img{image_id}.png"}
            entry |= {"height": height, "width": width}
            if kinds:
                entry["kind"] = kinds[image_id - 1]
            content["images"].append(entry)
            for index, (rle, box) in enumerate(
                zip(masks.to_coco_rle(), masks.boxes.tolist(), strict=True)
            ):
                annotation = {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": 1 + (classes[image_id - 1][index] if classes else 0),
                    "segmentation": rle,
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": int(masks.areas[index]),
                    "iscrowd": 0,
                }
                content["annotations"].append(annotation)
        path = tmp_path / "instances_val.json"
        path.write_text(json.dumps(content))
        MetadataCatalog.get("toy_val").set(json_file=str(path), thing_classes=list(categories))
        return path

    DatasetCatalog.register("toy_val", list)
    yield make
    DatasetCatalog.remove("toy_val")
    MetadataCatalog.remove("toy_val")


@pytest.fixture
def inputs():
    """The data loader's dict of image 1, 2, …"""
    return lambda *ids: [{"image_id": i, "file_name": f"/data/pictures/img{i}.png"} for i in ids]
