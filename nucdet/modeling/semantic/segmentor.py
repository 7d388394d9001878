"""Semantic segmentation, then separation into nuclei, as a Detectron2 architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import Tensor, nn

from nucdet.data.mapper import Targets
from nucdet.errors import InputError
from nucdet.layers.padding import reflect_to
from nucdet.modeling.semantic.losses import build_segmentation_loss
from nucdet.modeling.semantic.networks.build import build_segmentation_network
from nucdet.modeling.semantic.pixelwise import (
    PixelwiseSegmentor,
    nucleus_instances,
    resized_maps,
)
from nucdet.modeling.semantic.targets import SemanticTargets
from nucdet.postprocessing.classical import grey_foreground
from nucdet.postprocessing.separation import Separation

# MODEL.SEMANTIC.TTA -> (quarter turns, mirrored or not) of each view of an image
VIEWS = {
    "none": [(0, False)],
    "flips": [(turns, flip) for turns in (0, 2) for flip in (False, True)],
    "flips_turns": [(turns, flip) for turns in range(4) for flip in (False, True)],
}


@META_ARCH_REGISTRY.register()
class SemanticInstanceSegmentor(PixelwiseSegmentor):
    """Classifies the pixels of images, then separates the nuclei.

    It has the interface of Detectron2's architectures. Inputs are dicts with ``"image"`` (C, H, W)
    uint8; in training also ``"sem_seg"`` (H, W) int64 and optionally ``"sem_seg_weights"`` (H, W)
    float32, both from the mapper; in inference optionally "height" and "width" of the original
    image. Predictions are in pixels of the original image: ``"instances"``, which share no pixel
    and whose score is the mean foreground probability in their masks, and ``"sem_seg"``,
    probabilities (K, height, width) float32 of the foreground (K = 1), or of background, body and
    border (K = 3).
    """

    @configurable
    def __init__(
        self,
        *,
        network: nn.Module | None,
        loss: Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]],
        separation: Separation,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        resize: int = 0,
        tta: str = "none",
        invert_bright: bool = False,
    ):
        """
        Args:
            network: one of nucdet.modeling.semantic.networks, with one channel or three. None:
                nothing is trained, the foreground is that of :func:`grey_foreground`.
            loss: one of nucdet.modeling.semantic.losses.
            separation: turns the probabilities into masks.
            pixel_mean, pixel_std: C values, on the scale 0–255.
            resize: side in pixels of the squares to which images are resized in inference; 0: they
                keep their size.
            tta: a key of VIEWS; the probabilities are averaged over the views.
            invert_bright: images with a mean above 127.5 are inverted.

        Raises:
            InputError: an unknown ``tta``, or a negative ``resize``.
        """
        super().__init__(network, pixel_mean, pixel_std)
        if tta not in VIEWS:
            raise InputError(f"MODEL.SEMANTIC.TTA is {tta!r}, expected one of {', '.join(VIEWS)}")
        if resize < 0:
            raise InputError(f"MODEL.SEMANTIC.RESIZE is {resize}, expected pixels, or 0 for none")
        self.loss, self.separation = loss, separation
        self.resize, self.invert_bright = resize, invert_bright
        self.views = VIEWS[tta]

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        has_network = cfg.MODEL.SEGMENTATION.NETWORK != "none"
        return {
            "network": build_segmentation_network(cfg) if has_network else None,
            "loss": build_segmentation_loss(cfg),
            "separation": Separation(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "resize": cfg.MODEL.SEMANTIC.RESIZE,
            "tta": cfg.MODEL.SEMANTIC.TTA,
            "invert_bright": cfg.MODEL.SEMANTIC.INVERT_BRIGHT,
        }

    @staticmethod
    def build_targets(cfg: CfgNode, training: bool) -> list[Targets]:
        """For the mapper: "sem_seg" and perhaps "sem_seg_weights", see :class:`SemanticTargets`."""
        make = SemanticTargets(cfg)

        def targets(instances: Instances, image_id: int | str) -> dict[str, Tensor]:
            labels, weights = make(instances.gt_masks)
            result = {"sem_seg": torch.from_numpy(labels)}
            if weights is not None:
                result["sem_seg_weights"] = torch.from_numpy(weights)
            return result

        return [targets]

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """See :class:`PixelwiseSegmentor`."""
        batch, size = self.batch_of([x["image"] for x in batched_inputs])
        # the ground truth is padded by reflection, as batch_of pads the images
        truth = {
            key: torch.stack([reflect_to(x[key].to(self.device), size) for x in batched_inputs])
            for key in ("sem_seg", "sem_seg_weights")
            if key in batched_inputs[0]
        }
        logits = self.logits(batch)
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(logits, truth["sem_seg"], truth.get("sem_seg_weights"))

    def maps(self, images: list[Tensor]) -> Tensor:
        """Probabilities (N, K, H, W) float32 of N images (C, H, W), 0–255, of equal size."""
        if self.network is None:
            grey = [grey_foreground(image.permute(1, 2, 0).cpu().numpy()) for image in images]
            return torch.from_numpy(np.stack(grey))[:, None]
        batch = torch.stack([self.normalized(image) for image in images])
        seen = resized_maps(batch, (self.resize, self.resize)) if self.resize else batch
        total = 0.0
        for turns, flip in self.views:
            view = torch.rot90(seen, turns, (2, 3))
            logits = self.logits(view.flip(3) if flip else view)
            part = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
            total = total + torch.rot90(part.flip(3) if flip else part, -turns, (2, 3))
        return resized_maps(total / len(self.views), batch.shape[-2:])

    def normalized(self, image: Tensor) -> Tensor:
        """See :class:`PixelwiseSegmentor`; a bright image is inverted first, if configured."""
        image = image.to(self.device, torch.float32)
        if self.invert_bright and image.mean() > 127.5:
            image = 255 - image
        return super().normalized(image)

    def prediction(
        self, maps: Tensor, seen: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Any]:
        """ "instances", and "sem_seg": the probabilities (K, height, width) float32."""
        probabilities = resized_maps(maps[None], size)[0]
        classes = probabilities.cpu().contiguous().numpy()
        if len(classes) == 1:
            masks, scores = self.separation(classes[0], None)
        else:
            background, _, border = classes
            masks, scores = self.separation(1 - background, border)
        instances = nucleus_instances(masks, torch.from_numpy(scores))
        return {"sem_seg": probabilities, "instances": instances}
