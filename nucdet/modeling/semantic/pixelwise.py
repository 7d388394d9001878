"""What architectures have in common whose network labels pixels and whose nuclei come after it."""

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
    """Images of any size through a network, then nuclei from its maps.

    Takes and gives what Detectron2's architectures do: dicts with ``"image"`` (C, H, W) uint8 and,
    in inference, perhaps "height" and "width" of the original image. A subclass has the losses, the
    maps and the nuclei.
    """

    def __init__(
        self, network: nn.Module | None, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ):
        """
        Args:
            network: of nucdet.modeling.semantic.networks, or None where nothing is learned.
            pixel_mean, pixel_std: C values, on the scale 0–255.
        """
        super().__init__()
        # channels last: twice as fast on CPUs that compute in bfloat16
        self.network = network and network.to(memory_format=torch.channels_last)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @abstractmethod
    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The losses of a batch."""

    @abstractmethod
    def maps(self, images: list[Tensor]) -> Tensor:
        """(N, K, H, W) float32 of N images (C, H, W), 0–255, of equal size."""

    @abstractmethod
    def prediction(self, maps: Tensor, size: tuple[int, int]) -> dict[str, Any]:
        """What is predicted for one image, in original pixels.

        Args:
            maps: (K, H, W) of :meth:`maps`.
            size: (height, width) of the original image.
        """

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses in training, else a prediction for each image, in its original pixels."""
        if self.training:
            return self.losses(batched_inputs)
        return self.inference(batched_inputs)

    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predict images; those of equal size go through the network together."""
        same_size: dict[torch.Size, list[int]] = {}
        for i, x in enumerate(batched_inputs):
            same_size.setdefault(x["image"].shape, []).append(i)
        results: list[dict[str, Any]] = [{}] * len(batched_inputs)
        for numbers in same_size.values():
            found = self.maps([batched_inputs[i]["image"] for i in numbers])
            for i, maps in zip(numbers, found, strict=True):
                x, (height, width) = batched_inputs[i], maps.shape[-2:]
                size = x.get("height", height), x.get("width", width)
                results[i] = self.prediction(maps, size)
        return results

    def normalised(self, image: Tensor) -> Tensor:
        """(C, H, W) float32 as the network was pretrained, on the model's device."""
        return (image.to(self.device, torch.float32) - self.pixel_mean) / self.pixel_std

    def batch_of(self, images: list[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """Normalised images in one batch, smaller ones continued by mirroring; and its (H, W)."""
        ready = [self.normalised(image) for image in images]
        size = tuple(np.max([image.shape[-2:] for image in ready], axis=0))
        return torch.stack([reflect_to(image, size) for image in ready]), size

    def logits(self, images: Tensor) -> Tensor:
        """(N, K, H, W) float32 of normalised images (N, C, H, W) of any size."""
        height, width = images.shape[-2:]
        multiple = self.network.size_divisibility
        size = tuple(-(-length // multiple) * multiple for length in (height, width))
        padded = reflect_to(images, size).contiguous(memory_format=torch.channels_last)
        logits = self.network(padded).float()
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits[..., :height, :width]


def resized_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) bilinear to (height, width), smoothed where it shrinks."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)


def nucleus_instances(masks: CroppedMasks, scores: Tensor) -> Instances:
    """Detectron2's Instances of one class from N masks and their (N,) float32 scores."""
    result = Instances(masks.image_size, pred_masks=masks)
    result.scores = scores
    result.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    result.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    return result
