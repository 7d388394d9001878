"""Center voting as a Detectron2 architecture: losses in training, Instances in inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import Tensor, nn

from nucdet.data.mapper import Targets
from nucdet.errors import InputError
from nucdet.layers.padding import reflect_to
from nucdet.modeling.center_voting.grouping import group_pixels, nearest_labels
from nucdet.modeling.center_voting.losses import center_voting_losses
from nucdet.modeling.center_voting.targets import center_targets
from nucdet.modeling.semantic.networks.build import build_segmentation_network
from nucdet.modeling.semantic.pixelwise import (
    PixelwiseSegmentor,
    nucleus_instances,
    resized_maps,
)
from nucdet.postprocessing.cutting import fill_holes, keep_largest_pieces
from nucdet.structures import CroppedMasks

# MODEL.CENTER_VOTING.VIEWS -> for each view of an image the axes of (H, W) that are mirrored
VIEWS = {"one": ((),), "mirror": ((), (1,)), "flips": ((), (0,), (1,), (0, 1))}


@META_ARCH_REGISTRY.register()
class CenterVotingSegmentor(PixelwiseSegmentor):
    """Predicts for each pixel whether it is foreground and where the center of its nucleus lies.

    It has the interface of Detectron2's architectures. Inputs are dicts with ``"image"`` (C, H, W)
    uint8; in training also ``"center_targets"`` (5, H, W) from the mapper; in inference optionally
    "height" and "width" of the original image. Predictions have ``"instances"`` in pixels of the
    original image, which share no pixel; the score of each is the mean foreground probability in
    its mask.
    """

    @configurable
    def __init__(
        self,
        *,
        network: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        offset_scale: float,
        threshold: float,
        grouping: dict[str, float],
        views: str = "one",
        loss: Callable[[Tensor, Tensor, Tensor, float], dict[str, Tensor]] = center_voting_losses,
    ):
        """
        Args:
            network: one of nucdet.modeling.semantic.networks, with four channels.
            pixel_mean, pixel_std: C values, on the scale 0–255.
            offset_scale: pixels that correspond to an output of 1 in the offset channels.
            threshold: lowest probability of a foreground pixel.
            grouping: keyword arguments of :func:`group_pixels`.
            views: a key of VIEWS; the maps are averaged over the views.
            loss: with the arguments of :func:`center_voting_losses`.
        """
        super().__init__(network, pixel_mean, pixel_std)
        if views not in VIEWS:
            known = ", ".join(VIEWS)
            raise InputError(f"MODEL.CENTER_VOTING.VIEWS is {views!r}, expected one of {known}")
        self.offset_scale, self.threshold = offset_scale, threshold
        self.grouping, self.views, self.loss = grouping, VIEWS[views], loss

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.CENTER_VOTING
        if cfg.MODEL.SEGMENTATION.NUM_CHANNELS != 4:
            raise InputError(
                f"MODEL.SEGMENTATION.NUM_CHANNELS is {cfg.MODEL.SEGMENTATION.NUM_CHANNELS}, "
                "CenterVotingSegmentor needs 4: foreground, depth, and two of the offset"
            )
        return {
            "network": build_segmentation_network(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "offset_scale": node.OFFSET_SCALE,
            "threshold": node.THRESHOLD,
            "grouping": {
                "steps": node.STEPS,
                "sigma": node.SIGMA,
                "depth": node.DEPTH,
                "min_votes": node.MIN_VOTES,
            },
            "views": node.VIEWS,
        }

    @staticmethod
    def build_targets(cfg: CfgNode, training: bool) -> list[Targets]:
        """For the mapper: "center_targets", see :func:`center_targets`."""
        return [
            lambda instances, image_id: {
                "center_targets": torch.from_numpy(center_targets(instances.gt_masks))
            }
        ]

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """See :class:`PixelwiseSegmentor`."""
        batch, size = self.batch_of([x["image"] for x in batched_inputs])
        logits = self.logits(batch)
        targets = [x["center_targets"].to(self.device) for x in batched_inputs]
        # no loss in the padding: it mirrors the image, where the offsets would have other signs
        valid = [_with_zeros(torch.ones_like(t[0]), size) for t in targets]
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(
                logits,
                torch.stack([_with_zeros(t, size) for t in targets]),
                torch.stack(valid),
                self.offset_scale,
            )

    def maps(self, images: list[Tensor]) -> Tensor:
        """(N, 4, ⌈H / s⌉, ⌈W / s⌉) float32 of N images (C, H, W) of equal size.

        Foreground probability, depth, and (dy, dx) in pixels of the map. s is the network's
        ``output_stride``.
        """
        stride = self.network.output_stride
        size = images[0].shape[-2:]
        # first padded, so that mirrored views align in the map; still as uint8, which is faster
        padded = [reflect_to(image, self.divisible(size)) for image in images]
        batch = torch.stack([self.normalized(image) for image in padded])
        total = torch.zeros(())
        for axes in self.views:
            dims = [axis + 2 for axis in axes]
            view = batch.flip(dims).contiguous(memory_format=torch.channels_last)
            logits = self.network(view).float()
            offsets = logits[:, 2:] * (self.offset_scale / stride)
            sign = [-1.0 if axis in axes else 1.0 for axis in (0, 1)]
            offsets = offsets * offsets.new_tensor(sign)[:, None, None]
            total = total + torch.cat([logits[:, :2].sigmoid(), offsets], dim=1).flip(dims)
        height, width = (-(-length // stride) for length in size)
        return (total / len(self.views))[..., :height, :width]

    def prediction(
        self, maps: Tensor, seen: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Any]:
        """ "instances" of one image."""
        return {"instances": self.instances(maps.cpu().numpy(), seen, size)}

    def instances(
        self, maps: np.ndarray, seen: tuple[int, int], size: tuple[int, int]
    ) -> Instances:
        """The nuclei of one image from its maps.

        Pixels are grouped at the scale of the maps, at which nuclei have the size that the network
        was trained on; the outlines are drawn at the scale of the original image.

        Args:
            maps: (4, ⌈H / s⌉, ⌈W / s⌉) of :meth:`maps`.
            seen: (H, W) of the image as the network saw it.
            size: (height, width) of the original image.
        """
        stride = self.network.output_stride
        foreground = maps[0]
        labels = group_pixels(foreground >= self.threshold, maps[2:], **self._grouping_at(stride))
        if (size, stride) != (seen, 1):
            covered = seen[0] / stride, seen[1] / stride
            wide = torch.from_numpy(foreground)[None, None]
            foreground = resized_maps(wide, size, covered)[0, 0].numpy()
            labels = _resized_labels(labels, size, covered)
            labels = np.where(foreground >= self.threshold, labels, 0)
        # resizing may have cut specks off a nucleus, and separate pixels may have joined it
        masks = fill_holes(keep_largest_pieces(CroppedMasks.from_label_map(labels)))
        inside = zip(masks.slices(), masks.crops, strict=True)
        scores = [float(foreground[box][crop].mean()) for box, crop in inside]
        return nucleus_instances(masks, torch.tensor(scores, dtype=torch.float32))

    def _grouping_at(self, stride: int) -> dict[str, float]:
        """The settings of grouping for maps with a pixel for ``stride`` × ``stride`` pixels."""
        sigma, least = self.grouping["sigma"], self.grouping["min_votes"]
        return {**self.grouping, "sigma": sigma / stride, "min_votes": least / stride**2}


def _with_zeros(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(…, H, W) padded with zeros to (height, width)."""
    return F.pad(maps, (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2]))


def _resized_labels(
    labels: np.ndarray, size: tuple[int, int], covered: tuple[float, float]
) -> np.ndarray:
    """Resize the first ``covered`` rows and columns of labels (H, W) int32 to (height, width).

    Each nucleus is first grown by 2 pixels of the map, since the resized foreground, which then
    defines the outlines, may reach beyond the labels.
    """
    if labels.any():
        labels = nearest_labels(labels, 2.0)
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), length - 1)
        for new, old, length in zip(size, covered, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]
