"""Pixels first, then nuclei: a segmentation network, a loss and a separation as one model."""

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

# MODEL.SEMANTIC.TTA -> (quarter turns, mirrored or not) of each look at an image
VIEWS = {
    "none": [(0, False)],
    "flips": [(turns, flip) for turns in (0, 2) for flip in (False, True)],
    "flips_turns": [(turns, flip) for turns in range(4) for flip in (False, True)],
}


@META_ARCH_REGISTRY.register()
class SemanticInstanceSegmentor(PixelwiseSegmentor):
    """Labels the pixels of images, then takes the nuclei apart.

    Takes and gives what Detectron2's architectures do. Inputs are dicts with ``"image"`` (C, H, W),
    in training ``"sem_seg"`` and perhaps ``"sem_seg_weights"`` of the mapper. Predictions have
    ``"instances"`` and ``"sem_seg"``, float32 probabilities (K, height, width): of the nuclei
    (K = 1), or of background, body, border (K = 3).
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
            network: of nucdet.modeling.semantic.networks. None: the grey image itself says where
                the nuclei are, nothing is learned.
            loss: of nucdet.modeling.semantic.losses.
            separation: from probabilities to masks.
            pixel_mean, pixel_std: C values, on the scale 0–255.
            resize: in inference the network sees squares of this side; 0: images as they come.
            tta: a key of VIEWS; probabilities are the mean over the views.
            invert_bright: images with a mean above 127.5 are inverted.
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
        # smaller images of a batch go on mirrored, their ground truth too
        truth = {
            key: torch.stack([reflect_to(x[key].to(self.device), size) for x in batched_inputs])
            for key in ("sem_seg", "sem_seg_weights")
            if key in batched_inputs[0]
        }
        logits = self.logits(batch)
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(logits, truth["sem_seg"], truth.get("sem_seg_weights"))

    def maps(self, images: list[Tensor]) -> Tensor:
        """Probabilities, (N, K, H, W) float32 of N images (C, H, W), 0–255, of equal size."""
        if self.network is None:
            grey = [grey_foreground(image.permute(1, 2, 0).cpu().numpy()) for image in images]
            return torch.from_numpy(np.stack(grey))[:, None]
        batch = torch.stack([self.normalised(image) for image in images])
        seen = resized_maps(batch, (self.resize, self.resize)) if self.resize else batch
        total = 0.0
        for turns, flip in self.views:
            view = torch.rot90(seen, turns, (2, 3))
            logits = self.logits(view.flip(3) if flip else view)
            found = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
            total = total + torch.rot90(found.flip(3) if flip else found, -turns, (2, 3))
        return resized_maps(total / len(self.views), batch.shape[-2:])

    def normalised(self, image: Tensor) -> Tensor:
        """See :class:`PixelwiseSegmentor`; dark where the original is bright, if so configured."""
        image = image.to(self.device, torch.float32)
        if self.invert_bright and image.mean() > 127.5:
            image = 255 - image
        return super().normalised(image)

    def prediction(
        self, maps: Tensor, seen: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Any]:
        """ "instances", and "sem_seg": the probabilities (K, height, width)."""
        probabilities = resized_maps(maps[None], size)[0]
        found = probabilities.cpu().contiguous().numpy()
        if len(found) == 1:
            masks, scores = self.separation(found[0], None)
        else:
            masks, scores = self.separation(1 - found[0], found[2])
        instances = nucleus_instances(masks, torch.from_numpy(scores))
        return {"sem_seg": probabilities, "instances": instances}
