"""The ground-truth masks of a data set, read from its COCO JSON and decoded image by image."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

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
from nucdet.image_names import composed, names_of, stem_of
from nucdet.structures import CroppedMasks


@dataclass(frozen=True)
class TrueImage:
    """One image of the ground truth; ``kind`` is "" if the JSON names no kind of image."""

    image_id: int
    file_name: str
    height: int
    width: int
    kind: str = ""

    @property
    def stem(self) -> str:
        """The name of the file without folder and extension."""
        return stem_of(PurePath(self.file_name).name)


class GroundTruth:
    """Images, categories and annotations of a COCO JSON (polygons, compressed or plain RLE).

    Annotations with ``iscrowd`` = 1 mark regions, not nuclei, and are left out.
    """

    def __init__(self, json_file: str | os.PathLike[str]) -> None:
        """Read the JSON; masks are decoded later, image by image.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: it is not a COCO JSON with annotations, two images or categories have the
                same id, or an annotation has no image or no outline.
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
                # a file that lists no images at all is reported later, with a message of its own
                if self.images and image_id not in self.images:
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
        """The image with this id.

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
        """Ids of up to ``limit`` images: equally many of each kind, spread evenly over it."""
        kinds: dict[str, list[int]] = defaultdict(list)
        for image in self.images.values():
            kinds[image.kind].append(image.image_id)
        chosen: list[int] = []
        # the smallest kinds first: if they have too few images, the other kinds give more
        for left, ids in zip(
            range(len(kinds), 0, -1), sorted(kinds.values(), key=len), strict=True
        ):
            number = min(len(ids), (limit - len(chosen)) // left)
            at = np.linspace(0, len(ids) - 1, number).round().astype(int)
            chosen += [ids[i] for i in at]
        return sorted(chosen)

    def named(self, name: str) -> TrueImage | None:
        """The image whose outputs have this name, see :func:`nucdet.image_names.names_of`.

        Raises:
            InputError: several images have the name.
        """
        found = self.images_by_name.get(composed(name), [])
        if len(found) > 1:
            raise InputError(
                f"{self.json_file}: {found[0].file_name} and {found[1].file_name} have the same "
                f"stem, so a prediction for {name!r} is ambiguous; name predictions with the "
                "ending of their image, or give them as coco_instances_results.json"
            )
        return found[0] if found else None

    @cached_property
    def images_by_name(self) -> dict[str, list[TrueImage]]:
        """The images by each name, composed, that their outputs may have."""
        images = list(self.images.values())
        result: dict[str, list[TrueImage]] = {}
        for names in zip(*(names_of(image.file_name) for image in images), strict=True):
            by_name: dict[str, list[TrueImage]] = defaultdict(list)
            for name, image in zip(names, images, strict=True):
                by_name[name].append(image)
            # the stem of one image takes precedence over the whole name of another
            result = {**by_name, **result}
        return result
