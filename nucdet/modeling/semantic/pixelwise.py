"""The common base class of architectures that predict pixel maps and find the nuclei in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from nucdet.layers.padding import reflect_to
from nucdet.structures import CroppedMasks


class PixelwiseSegmentor(nn.Module, ABC):
    """Runs a network on images of any size and finds nuclei in its maps.

    It has the interface of Detectron2's architectures. Inputs are dicts with ``"image"`` (C, H, W)
    uint8 and, in inference, optionally "height" and "width" of the original image. A subclass
    implements ``losses``, ``maps`` and ``prediction``.
    """

    def __init__(
        self, network: nn.Module | None, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ):
        """
        Args:
            network: one of nucdet.modeling.semantic.networks, or None if nothing is trained.
            pixel_mean, pixel_std: C values, on the scale 0–255.
        """
        super().__init__()
        # channels last: twice as fast on CPUs that compute in bfloat16
        self.network = network and network.to(memory_format=torch.channels_last)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @abstractmethod
    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The losses of a batch: scalars by name."""

    @abstractmethod
    def maps(self, images: list[Tensor]) -> Tensor:
        """(N, K, ⌈H / s⌉, ⌈W / s⌉) float32 of N images (C, H, W), 0–255, of equal size.

        One pixel of a map covers s × s pixels of an image; s is an integer.
        """

    @abstractmethod
    def prediction(
        self, maps: Tensor, seen: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Any]:
        """The prediction for one image, in pixels of the original image.

        Args:
            maps: (K, ⌈H / s⌉, ⌈W / s⌉) of :meth:`maps`.
            seen: (H, W) of the image as the network saw it.
            size: (height, width) of the original image.
        """

    @property
    def device(self) -> torch.device:
        """The device of the model's buffers."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses in training, else a prediction for each image, in pixels of the original one."""
        if self.training:
            return self.losses(batched_inputs)
        return self.inference(batched_inputs)

    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predict images, in their order; those of equal size go through the network together."""
        same_size: dict[torch.Size, list[int]] = {}
        for i, x in enumerate(batched_inputs):
            same_size.setdefault(x["image"].shape, []).append(i)
        results: list[dict[str, Any]] = [{}] * len(batched_inputs)
        for indices in same_size.values():
            maps_of_all = self.maps([batched_inputs[i]["image"] for i in indices])
            for i, maps in zip(indices, maps_of_all, strict=True):
                x = batched_inputs[i]
                seen = tuple(x["image"].shape[-2:])
                size = x.get("height", seen[0]), x.get("width", seen[1])
                results[i] = self.prediction(maps, seen, size)
        return results

    def normalized(self, image: Tensor) -> Tensor:
        """(image − mean) / std of an image (C, H, W), 0–255: float32, on the model's device."""
        return (image.to(self.device, torch.float32) - self.pixel_mean).div_(self.pixel_std)

    def batch_of(self, images: list[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """Normalize images (C, H, W), 0–255, into one batch.

        Returns:
            (N, C, H, W) float32, with smaller images padded by reflection, and its (H, W).
        """
        normalized = [self.normalized(image) for image in images]
        size = tuple(np.max([image.shape[-2:] for image in normalized], axis=0))
        return torch.stack([reflect_to(image, size) for image in normalized]), size

    def logits(self, images: Tensor) -> Tensor:
        """(N, K, H, W) float32 of normalized images (N, C, H, W) with any H and W."""
        height, width = images.shape[-2:]
        padded = reflect_to(images, self.divisible((height, width)))
        logits = self.network(padded.contiguous(memory_format=torch.channels_last)).float()
        stride = self.network.output_stride
        if stride > 1:
            logits = F.interpolate(logits, scale_factor=stride, mode="bilinear")
        return logits[..., :height, :width]

    def divisible(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) rounded up to multiples of the network's ``size_divisibility``."""
        multiple = self.network.size_divisibility
        height, width = (-(-length // multiple) * multiple for length in size)
        return height, width


def resized_maps(
    maps: Tensor, size: tuple[int, int], covered: tuple[float, float] | None = None
) -> Tensor:
    """Resize maps by bilinear interpolation, with antialiasing where they shrink.

    Args:
        maps: (N, C, H, W) float32.
        size: (height, width) of the result.
        covered: how many (rows, columns) of the maps, from the top left, are resized to ``size``;
            fractions of a row or column are allowed. None: all.

    Returns:
        (N, C, height, width) float32.
    """
    if covered is None or covered == tuple(maps.shape[-2:]):
        if tuple(maps.shape[-2:]) == tuple(size):
            return maps
        return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)
    # slightly larger, since interpolate rounds length × scale down and could lose the last row
    scales = tuple(new / old * (1 + 1e-9) for new, old in zip(size, covered, strict=True))
    larger = F.interpolate(
        maps, scale_factor=scales, mode="bilinear", align_corners=False, antialias=True
    )
    return larger[..., : size[0], : size[1]]


def nucleus_instances(masks: CroppedMasks, scores: Tensor) -> Instances:
    """Detectron2's Instances of one class from N masks and their (N,) float32 scores."""
    result = Instances(masks.image_size, pred_masks=masks)
    result.scores = scores
    result.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    result.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    return result
