"""Writes the predictions of many images as one COCO JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from nucdet.export.record import ImageRecord
from nucdet.files import write_json


def write_coco(path: str | os.PathLike[str], records: Iterable[ImageRecord]) -> None:
    """Write a file that ``pycocotools.coco.COCO`` loads: images, categories, annotations.

    Format: https://cocodataset.org/#format-data. Ids count from 1: images in the order of the
    records, annotations in the order of the labels in each label image. Segmentations are
    compressed RLE, boxes (x, y, width, height) in pixels. Each annotation also has a ``score``, so
    that the list of annotations is a valid list of COCO results. Each plane of a stack is an image
    that also has ``time`` and ``z``, from 0. Its annotations have ``nucleus_id``, the number of the
    nucleus in the label stack, which several planes may share.

    Args:
        path: an existing file is replaced.
        records: iterated over once, one at a time.

    Raises:
        OSError: the file cannot be written.
    """
    names: list[str] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in records:
        names = record.class_names
        image_id = len(images) + 1
        entry = {"id": image_id, "file_name": record.file_name}
        entry |= {"width": record.width, "height": record.height}
        if record.axes:
            entry |= {"time": record.time, "z": record.z}
        images.append(entry)
        boxes = record.masks().boxes
        boxes[:, 2:] -= boxes[:, :2]
        for i, rle in enumerate(record.rles()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": record.classes[i] + 1,
                "segmentation": rle,
                "area": record.areas[i],
                "bbox": boxes[i].tolist(),
                "iscrowd": 0,
                "score": record.scores[i],
            }
            if record.axes:
                annotation["nucleus_id"] = record.columns["id"][i]
            annotations.append(annotation)
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})
