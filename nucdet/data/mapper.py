"""Maps a data set's dict to the input of a model: image and masks, augmented together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from nucdet.data.augment.color import grey_values
from nucdet.data.augment.composition import Composition
from nucdet.data.augment.geometry import Nuclei, Resize, build_geometric, evaluation_resize
from nucdet.data.augment.perturbations import build_perturbation
from nucdet.data.augment.photometry import build_photometric
from nucdet.data.augment.sample import Sample
from nucdet.data.io.cache import ImageCache
from nucdet.data.io.normalization import check_rule
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

# From the instances of an augmented image and its image_id to entries of the model's input.
Targets = Callable[[Instances, int | str], dict[str, torch.Tensor]]


def build_targets(cfg: CfgNode, *, training: bool) -> Sequence[Targets]:
    """The training targets of MODEL.META_ARCHITECTURE other than the instances.

    A class that needs more than boxes, classes and masks, for example pixel maps made from the
    masks, has a static method ``build_targets(cfg, training)`` that returns functions for it.

    Args:
        cfg: the config.
        training: False for a loss on a validation set, which must be the same each time.
    """
    from detectron2.modeling import (
        META_ARCH_REGISTRY,  # takes seconds; needed only for ground truth
    )

    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    build = getattr(architecture, "build_targets", None)
    return build(cfg, training) if build else ()


class NucleusDatasetMapper:
    """Maps ``{"file_name", "height", "width", "image_id", "annotations"}`` to a model's input.

    Adds ``"image"``, a uint8 tensor (C, H, W), and, with ``with_truth``, ``"instances"`` with
    gt_boxes (XYXY, around the masks), gt_classes and gt_masks (:class:`CroppedMasks`), all after
    augmentation, which may use other images of the data set (:class:`Composition`). The model
    itself defines any further targets, see :func:`build_targets`.

    Masks are warped as label maps, so that the time of a warp does not depend on the number of
    nuclei.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: list[T.Augmentation],
        with_truth: bool,
        image_format: str,
        normalize: str = "none",
        min_instance_area: int = 1,
        targets: Sequence[Targets] = (),
        composition: Composition | None = None,
        cache_mib: float = 0,
    ):
        """
        Args:
            augmentations: Detectron2 augmentations, applied in order.
            with_truth: whether to add "instances"; training and validation losses need them.
            image_format: "RGB", "BGR", or "L" for one grey channel.
            normalize: INPUT.NORMALIZE, applied to the whole image before ``augmentations``.
            min_instance_area: instances with fewer pixels than this after augmentation are dropped.
            targets: each makes further entries from the instances; only with ``with_truth``.
            composition: combines images after ``augmentations``; None: images are not combined.
            cache_mib: MiB of decoded images to keep in memory.
        """
        if image_format not in ("RGB", "BGR", "L"):
            raise InputError(f"INPUT.FORMAT is {image_format!r}, expected 'RGB', 'BGR' or 'L'")
        self.augmentations = T.AugmentationList(augmentations)
        self.with_truth = with_truth
        self.image_format = image_format
        self.min_instance_area = max(1, min_instance_area)
        self.targets = list(targets)
        self.composition = composition
        self._read_image = ImageCache(cache_mib, check_rule(normalize))

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        *,
        augment: bool,
        with_truth: bool | None = None,
        records: Sequence[dict[str, Any]] = (),
    ) -> dict[str, Any]:
        """
        Args:
            cfg: the config.
            augment: True: training augmentations; False: TEST.PERTURBATION and evaluation's resize.
            with_truth: whether to add "instances"; None: as ``augment``.
            records: the data set, from which copy-paste takes other images; without it nuclei are
                pasted from the image itself.
        """
        composition = None
        if augment:
            normalize = cfg.INPUT.NORMALIZE
            augmentations = build_geometric(cfg)
            composition = Composition.from_config(cfg, records)
            if composition is None:  # else it changes light and color itself, after pasting
                augmentations += build_photometric(cfg)
        else:
            normalize, perturbation = build_perturbation(cfg)
            augmentations = [*perturbation, Resize(evaluation_resize(cfg))]
        with_truth = augment if with_truth is None else with_truth
        return {
            "augmentations": augmentations,
            "with_truth": with_truth,
            "image_format": cfg.INPUT.FORMAT,
            "normalize": normalize,
            "min_instance_area": cfg.INPUT.AUGMENTATION.MIN_INSTANCE_AREA,
            "targets": build_targets(cfg, training=augment) if with_truth else (),
            "composition": composition,
            "cache_mib": cfg.DATALOADER.CACHE_MIB if augment else 0,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Read and augment one image.

        Raises:
            FileNotFoundError, InputError: the image is missing, unreadable or of another size, or
                an annotation is damaged.
        """
        result = {key: value for key, value in dataset_dict.items() if key != "annotations"}
        if self.composition is None:
            sample = self._read(dataset_dict)
        else:
            sample = self.composition(dataset_dict, self._read)
        image = convert_format(sample.image, self.image_format)
        result["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.with_truth:
            result["instances"] = self._instances(sample)
            image_id = dataset_dict.get("image_id", 0)
            for make in self.targets:
                result |= make(result["instances"], image_id)
        return result

    def _read(self, dataset_dict: dict[str, Any]) -> Sample:
        """One image after ``augmentations``, without nuclei unless ``with_truth`` is set."""
        image = self._read_image(dataset_dict["file_name"])
        size = (dataset_dict["height"], dataset_dict["width"])
        if image.shape[:2] != size:
            raise InputError(
                f"{dataset_dict['file_name']}: is {image.shape[0]}×{image.shape[1]} pixels, its "
                f"annotations say {size[0]}×{size[1]} (height×width); convert the data again"
            )
        augmented = T.AugInput(image)
        augmented.image_id = dataset_dict.get("image_id", 0)  # perturbations draw from it
        annotations = dataset_dict["annotations"] if self.with_truth else []
        annotations = [a for a in annotations if not a.get("iscrowd", 0)]
        try:
            masks = CroppedMasks.from_coco([a["segmentation"] for a in annotations], size)
        except InputError as error:
            raise InputError(f"{dataset_dict['file_name']}: its annotations: {error}") from error
        augmented.nuclei = Nuclei.of_masks(masks)
        transforms = self.augmentations(augmented)
        classes = np.array([a["category_id"] for a in annotations], np.int64)
        warped = [CroppedMasks.empty(augmented.image.shape[:2])]
        kept = [classes[:0]]
        for layer in label_layers(masks):
            # float32: exact up to 16 million instances, and every warp takes it
            labels = transforms.apply_segmentation(layer.astype(np.float32)).astype(np.int32)
            present = np.flatnonzero(np.bincount(labels.ravel())[1:])  # np.unique is much slower
            warped.append(CroppedMasks.from_label_map(labels))
            kept.append(classes[present])
        return Sample(augmented.image, CroppedMasks.cat(warped), np.concatenate(kept))

    def _instances(self, sample: Sample) -> Instances:
        keep = sample.masks.areas >= self.min_instance_area
        instances = Instances(sample.image.shape[:2])
        instances.gt_masks = sample.masks[keep]
        instances.gt_boxes = Boxes(torch.from_numpy(instances.gt_masks.boxes))
        instances.gt_classes = torch.from_numpy(sample.classes[keep])
        return instances


def convert_format(image: np.ndarray, image_format: str) -> np.ndarray:
    """uint8 RGB (H, W, 3) to INPUT.FORMAT: "RGB", "BGR" (H, W, 3) or "L" (H, W, 1)."""
    if image_format == "BGR":
        return image[:, :, ::-1]
    if image_format == "L":
        return grey_values(image)[..., None]
    return image


def label_layers(masks: CroppedMasks) -> list[np.ndarray]:
    """Label maps (int32, mask i has label i + 1) that together contain every mask completely.

    There is one if no masks overlap; a mask that overlaps another one goes to the next layer.
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
