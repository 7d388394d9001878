"""The masks of a data set's ground truth, from its COCO JSON, decoded image by image."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog

from nucdet.data.coco_entries import (
    check_categories,
    check_file_name,
    check_id,
    check_image_id,
    check_segmentation,
    check_size,
)
from nucdet.errors import InputError
from nucdet.files import read_json
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class TrueImage:
    """One image of the ground truth; ``kind`` is "" where the JSON names no kind of image."""

    image_id: int
    file_name: str
    height: int
    width: int
    kind: str = ""

    @property
    def stem(self) -> str:
        """The file's name without folder and ending; Kaggle's ImageId."""
        return Path(self.file_name).stem


class GroundTruth:
    """Images, categories and annotations of a COCO JSON (polygons, compressed or plain RLE).

    Annotations with ``iscrowd`` = 1 mark regions, not nuclei, and are left out.
    """

    def __init__(self, json_file: str | os.PathLike[str]) -> None:
        """Read the JSON; masks are decoded when asked for.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: it is not a COCO JSON with annotations, two images or categories have one
                id, or an annotation has no image or no outline.
        """
        self.json_file = Path(json_file)
        self.images: dict[int, TrueImage] = {}
        self._segmentations: dict[int, list] = defaultdict(list)
        content = read_json(self.json_file)
        try:
            for entry in content["images"]:
                image_id = check_image_id(self.json_file, entry, self.images)
                name = check_file_name(self.json_file, entry)
                size = check_size(self.json_file, entry)
                self.images[image_id] = TrueImage(
                    image_id, name, *size, str(entry.get("kind") or "")
                )
            self.categories = check_categories(self.json_file, content.get("categories", ()))
            for entry in content["annotations"]:
                image_id = check_id(self.json_file, entry, "image_id")
                if image_id not in self.images:
                    raise InputError(
                        f"{self.json_file}: annotation {entry.get('id')} is of image "
                        f"{image_id!r}, which is not listed; list the image or take the "
                        "annotation out"
                    )
                if not entry.get("iscrowd"):
                    outline = check_segmentation(self.json_file, entry)
                    self._segmentations[image_id].append(outline)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{json_file}: not a COCO JSON with annotations ({type(error).__name__}: {error}); "
                "expected images with id, file_name, height, width and annotations with image_id, "
                "segmentation"
            ) from error

    @classmethod
    def of_dataset(cls, dataset_name: str) -> GroundTruth:
        """The ground truth of a data set registered in Detectron2's catalog.

        Raises:
            InputError: the data set has no COCO JSON.
        """
        json_file = MetadataCatalog.get(dataset_name).get("json_file")
        if json_file is None:
            raise InputError(
                f"data set {dataset_name!r} has no json_file in Detectron2's MetadataCatalog; "
                "register it with nucdet.data.datasets.register_coco_json"
            )
        return cls(json_file)

    def image(self, image_id: int) -> TrueImage:
        """The image of that id.

        Raises:
            InputError: the ground truth has no such image.
        """
        if image_id not in self.images:
            raise InputError(
                f"{self.json_file}: there is no image with id {image_id!r}, but a prediction for "
                "it; evaluate with the ground truth of the same images"
            )
        return self.images[image_id]

    def masks(self, image_id: int) -> CroppedMasks:
        """True masks of one image, in the order of the JSON."""
        image = self.image(image_id)
        size = (image.height, image.width)
        try:
            return CroppedMasks.from_coco(self._segmentations.get(image_id, []), size)
        except InputError as error:
            raise InputError(f"{self.json_file}: image {image.file_name}: {error}") from error

    def evenly_over_kinds(self, limit: int) -> list[int]:
        """Ids of ``limit`` images: as many of each kind of image as there are, spread evenly."""
        kinds: dict[str, list[int]] = defaultdict(list)
        for image in self.images.values():
            kinds[image.kind].append(image.image_id)
        chosen: list[int] = []
        # the smallest kinds first: where they have too few images, the other kinds give more
        for left, ids in zip(
            range(len(kinds), 0, -1), sorted(kinds.values(), key=len), strict=True
        ):
            number = min(len(ids), (limit - len(chosen)) // left)
            at = np.linspace(0, len(ids) - 1, number).round().astype(int)
            chosen += [ids[i] for i in at]
        return sorted(chosen)

    def ids_by_stem(self) -> dict[str, int]:
        """Image ids by the stem of the file name.

        Raises:
            InputError: two images have the same stem, so that names cannot tell them apart.
        """
        ids: dict[str, int] = {}
        for image in self.images.values():
            other = ids.setdefault(image.stem, image.image_id)
            if other != image.image_id:
                raise InputError(
                    f"{self.json_file}: {image.file_name} and {self.images[other].file_name} have "
                    "the same stem, so predictions by name are ambiguous; "
                    "give predictions as coco_instances_results.json"
                )
        return ids
