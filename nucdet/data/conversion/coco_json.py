"""Writes COCO JSON in the form of all of nucdet's data sets.

The format is https://cocodataset.org/#format-data with compressed RLE (also for ``iscrowd`` 0,
which pycocotools and Detectron2 can read). Images have additional entries: ``kind`` (kind of
microscopy, or cell type), if known, ``group`` (images of one group show the same specimen), and
``original`` if ``file_name`` is a copy of one plane of a stack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucdet.data.manifest import write_manifest
from nucdet.files import write_json
from nucdet.structures import CroppedMasks


@dataclass
class ImageEntry:
    """One image and its ground truth, ready to be written.

    Attributes:
        file_name: relative to the data set's folder, with forward slashes.
        height, width: in pixels.
        kind: kind of microscopy, or cell type.
        annotations: from :func:`annotations_of`, with ``category_id`` if there are several
            categories; empty for an image without nuclei or ground truth.
        group: number shared by images that must stay on one side of a split.
        original: the file of which ``file_name`` is a plane, also relative; None: ``file_name``.
    """

    file_name: str
    height: int
    width: int
    kind: str
    annotations: list[dict[str, Any]]
    group: int | None = None
    original: str | None = None


def annotations_of(masks: CroppedMasks) -> list[dict[str, Any]]:
    """``bbox`` [x, y, w, h], ``area`` and ``segmentation`` of each mask, in their order."""
    boxes = masks.boxes.astype(int)
    boxes[:, 2:] -= boxes[:, :2]
    parts = zip(boxes.tolist(), masks.areas.tolist(), masks.to_coco_rle(), strict=True)
    return [{"bbox": box, "area": area, "segmentation": rle} for box, area, rle in parts]


def write_coco(
    path: Path,
    entries: Iterable[ImageEntry],
    description: str,
    categories: Sequence[str] = ("nucleus",),
    planes: Mapping[str, int | str] | None = None,
) -> None:
    """Write one split; image ids count from 1 in the order of ``file_name``, category ids in the
    order given. ``planes`` is what :meth:`nucdet.data.io.choice.Choice.chosen` says.

    Equal images give equal bytes, regardless of their order: the file contains no date and no path.
    """
    images, annotations = [], []
    for entry in sorted(entries, key=lambda p: p.file_name):
        image = {
            "id": len(images) + 1,
            "file_name": entry.file_name,
            "height": entry.height,
            "width": entry.width,
            "kind": entry.kind,
        }
        if entry.group is not None:
            image["group"] = entry.group
        if entry.original is not None:
            image["original"] = entry.original
        images.append(image)
        for annotation in entry.annotations:
            ids = {"id": len(annotations) + 1, "image_id": image["id"]}
            annotations.append({**ids, "category_id": 1, "iscrowd": 0, **annotation})
    write_json(
        path,
        {
            "info": {"description": description, **({"planes": dict(planes)} if planes else {})},
            "licenses": [],
            "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
            "images": images,
            "annotations": annotations,
        },
    )


def write_splits(
    folder: Path,
    splits: Mapping[str, Sequence[ImageEntry]],
    name: str,
    categories: Sequence[str] = ("nucleus",),
) -> None:
    """Write all splits of a data set as ``instances_<split>.json``, and their manifest.

    Args:
        folder: ``annotations`` of the data set.
        splits: the images of each.
        name: of the data set, for the descriptions.
        categories: their names in the order of their ids.
    """
    for split, images in splits.items():
        write_coco(folder / json_name(split), images, f"{name} {split}", categories)
    write_manifest(folder, map(json_name, splits))


def json_name(split: str) -> str:
    """The file of a split in the folder ``annotations`` of its data set."""
    return f"instances_{split}.json"


def print_splits(splits: Mapping[str, Sequence[ImageEntry]], objects: str, folder: Path) -> None:
    """Print how many images, by kind, and ``objects`` (such as "nuclei") each split has."""
    for split, images in splits.items():
        count = sum(len(p.annotations) for p in images)
        kinds = sorted(Counter(p.kind for p in images).items())
        listed = ", ".join(f"{number} {kind}" for kind, number in kinds)
        print(f"{split}: {len(images)} images, {count} {objects} ({listed})")
    print(f"written to {folder}")
