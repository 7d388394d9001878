"""From a data set's dict to what a model takes: image and masks, augmented together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from nucdet.data.augmentation import build_test_augmentation, build_train_augmentation
from nucdet.data.image_io import read_image
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks


class NucleusDatasetMapper:
    """Maps ``{"file_name", "height", "width", "image_id", "annotations"}`` to a model's input.

    Adds ``"image"``, a uint8 tensor (C, H, W), and, with ``with_truth``, ``"instances"`` with
    gt_boxes (XYXY, around the masks), gt_classes and gt_masks (:class:`CroppedMasks`), all after
    augmentation. Masks travel through it as label maps: the cost of a warp does not depend on the
    number of nuclei.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: list[T.Augmentation],
        with_truth: bool,
        image_format: str,
        min_instance_area: int = 1,
    ):
        """
        Args:
            augmentations: Detectron2 augmentations, applied in order.
            with_truth: whether to add "instances"; training and validation losses need them.
            image_format: "RGB", "BGR", or "L" for one grey channel.
            min_instance_area: instances with fewer pixels than this after augmentation are dropped.
        """
        if image_format not in ("RGB", "BGR", "L"):
            raise InputError(f"INPUT.FORMAT is {image_format!r}, expected 'RGB', 'BGR' or 'L'")
        self.augmentations = T.AugmentationList(augmentations)
        self.with_truth = with_truth
        self.image_format = image_format
        self.min_instance_area = max(1, min_instance_area)

    @classmethod
    def from_config(
        cls, cfg: CfgNode, *, augment: bool, with_truth: bool | None = None
    ) -> dict[str, Any]:
        """``augment``: training augmentations, else the resize of evaluation.

        ``with_truth`` is as ``augment`` if not given.
        """
        build = build_train_augmentation if augment else build_test_augmentation
        return {
            "augmentations": build(cfg),
            "with_truth": augment if with_truth is None else with_truth,
            "image_format": cfg.INPUT.FORMAT,
            "min_instance_area": cfg.INPUT.AUGMENTATION.MIN_INSTANCE_AREA,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Read and augment one picture.

        Raises:
            FileNotFoundError, InputError: the image is missing, unreadable or of another size.
        """
        result = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        image = read_image(dataset_dict["file_name"])
        size = (dataset_dict["height"], dataset_dict["width"])
        if image.shape[:2] != size:
            raise InputError(
                f"{dataset_dict['file_name']}: is {image.shape[0]}×{image.shape[1]} pixels, its "
                f"annotations say {size[0]}×{size[1]} (height×width); convert the data again"
            )
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        image = convert_format(augmented.image, self.image_format)
        result["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.with_truth:
            annotations = [a for a in dataset_dict["annotations"] if not a.get("iscrowd", 0)]
            result["instances"] = self._truth(annotations, size, transforms, image.shape[:2])
        return result

    def _truth(
        self,
        annotations: list[dict[str, Any]],
        size: tuple[int, int],
        transforms: T.TransformList,
        new_size: tuple[int, int],
    ) -> Instances:
        masks = masks_of_annotations(annotations, size)
        classes = np.array([a["category_id"] for a in annotations], np.int64)
        kept_masks, kept_classes = [CroppedMasks.from_dense(np.zeros((0, *new_size), bool))], []
        for layer in label_layers(masks):
            # float32: exact up to 16 million instances, and every warp takes it
            labels = transforms.apply_segmentation(layer.astype(np.float32)).astype(np.int32)
            present = np.unique(labels)
            present = present[present > 0]
            warped = CroppedMasks.from_label_map(labels)
            keep = warped.areas >= self.min_instance_area
            kept_masks.append(warped[keep])
            kept_classes.append(classes[present[keep] - 1])
        instances = Instances(new_size)
        instances.gt_masks = CroppedMasks.cat(kept_masks)
        instances.gt_boxes = Boxes(torch.from_numpy(instances.gt_masks.boxes))
        instances.gt_classes = torch.from_numpy(np.concatenate([*kept_classes, classes[:0]]))
        return instances


def convert_format(image: np.ndarray, image_format: str) -> np.ndarray:
    """uint8 RGB (H, W, 3) to INPUT.FORMAT: "RGB", "BGR" (H, W, 3) or "L" (H, W, 1)."""
    if image_format == "BGR":
        return image[:, :, ::-1]
    if image_format == "L":
        # the mean, not luma: which stain carries the nuclei is not known
        return image.mean(axis=2, keepdims=True).round().astype(np.uint8)
    return image


def masks_of_annotations(annotations: list[dict[str, Any]], size: tuple[int, int]) -> CroppedMasks:
    """The masks of COCO annotations (all RLE or all polygons) of one (height, width) image."""
    segmentations = [annotation["segmentation"] for annotation in annotations]
    if segmentations and isinstance(segmentations[0], list):
        return CroppedMasks.from_polygons(segmentations, size)
    return CroppedMasks.from_coco_rle(segmentations, size)


def label_layers(masks: CroppedMasks) -> list[np.ndarray]:
    """Label maps (int32, mask i has label i + 1) that together hold every mask whole.

    One where no masks overlap; a mask that meets another one goes to the next layer.
    """
    layers: list[np.ndarray] = []
    for index, ((y, x), crop) in enumerate(zip(masks.offsets, masks.crops, strict=True)):
        height, width = crop.shape
        for layer in layers:
            window = layer[y : y + height, x : x + width]
            if not window[crop].any():
                break
        else:
            layers.append(np.zeros(masks.image_size, np.int32))
            window = layers[-1][y : y + height, x : x + width]
        window[crop] = index + 1
    return layers
