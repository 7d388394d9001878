"""The system of report 000: region proposals, a nucleus filter and a U-Net for small crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from nucdet.data.mapper import Targets
from nucdet.errors import InputError
from nucdet.layers.stretching import stretch
from nucdet.modeling.crop_rcnn.measures import Measures, measure_crops, measure_recall
from nucdet.modeling.crop_rcnn.negative_crops import NegativeCrops
from nucdet.modeling.mask_rcnn.nucleus_rcnn import NucleusRCNN

# part -> names of its modules
PARTS = {
    "rpn": ("backbone", "proposal_generator"),
    "filter": ("roi_heads.nucleus_filter",),
    "mask": ("roi_heads.mask_head",),
}


@META_ARCH_REGISTRY.register()
class CropRCNN(NucleusRCNN):
    """Three networks for grey images that share no weights, trained together or one by one.

    "rpn" is the backbone with :class:`CropRPN`, "filter" and "mask" are those of
    :class:`CropROIHeads`. A part that is not trained gets no gradient, keeps the statistics of its
    batch norms, and runs only if a trained part needs its results: the filter learns from the RPN's
    false proposals.

    It has the interface of :class:`NucleusRCNN`; the "image" of an input is (1, H, W) uint8.
    """

    learns_one_class = True  # however many the data set has

    @configurable
    def __init__(
        self, *, train_parts: Sequence[str] = tuple(PARTS), stretch: bool = True, **kwargs: Any
    ):
        """
        Args:
            train_parts: keys of PARTS, at least one.
            stretch: whether images go through :func:`stretch` first.
            kwargs: see :class:`NucleusRCNN`.

        Raises:
            InputError: no part, or an unknown one.
        """
        super().__init__(**kwargs)
        if not train_parts or not set(train_parts) <= set(PARTS):
            raise InputError(
                f"MODEL.CROP_RCNN.TRAIN_PARTS is {tuple(train_parts)}, expected some of "
                f"{', '.join(PARTS)}"
            )
        self.train_parts, self.stretch = tuple(train_parts), stretch
        for module in self._untrained():
            module.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        channels = len(cfg.MODEL.PIXEL_MEAN)
        if channels != 1:
            raise InputError(
                f"MODEL.PIXEL_MEAN has {channels} values, but CropRCNN takes grey images; set "
                "INPUT.FORMAT 'L', and one value each for MODEL.PIXEL_MEAN and PIXEL_STD"
            )
        return {
            **super().from_config(cfg),
            "train_parts": cfg.MODEL.CROP_RCNN.TRAIN_PARTS,
            "stretch": cfg.MODEL.CROP_RCNN.STRETCH,
        }

    @staticmethod
    def build_targets(cfg: CfgNode, training: bool) -> list[Targets]:
        """For the mapper: "negative_crops" if there is a MODEL.NUCLEUS_FILTER.OTHERS_FOLDER."""
        crops = NegativeCrops.from_config(cfg, training=training)
        return [lambda _, image_id: {"negative_crops": crops(image_id)}] if crops else []

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """See :meth:`NucleusRCNN.preprocess_image`; images are stretched first, if configured."""
        if self.stretch:
            batched_inputs = [{**x, "image": 255 * stretch(x["image"])} for x in batched_inputs]
        return super().preprocess_image(batched_inputs)

    def _untrained(self) -> list[nn.Module]:
        names = [
            n for part, places in PARTS.items() if part not in self.train_parts for n in places
        ]
        modules = dict(self.named_modules())
        return [modules[name] for name in names if name in modules]  # there may be no filter

    def train(self, mode: bool = True) -> CropRCNN:
        """See :meth:`nn.Module.train`; parts that are not trained stay in evaluation mode."""
        super().train(mode)
        for module in self._untrained():
            module.eval()
        return self

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Losses of the trained parts, or predictions; see :class:`GeneralizedRCNN`.

        In training, "negative_crops" of an input, (K, 1, M, M) uint8, are additional negatives for
        the filter.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        proposals, losses = self._proposals(images, targets)
        features = {"image": images.tensor}
        others = self._negative_crops(batched_inputs)
        losses |= self.roi_heads(images, features, proposals, targets, others)[1]
        return losses

    def _proposals(
        self, images: ImageList, targets: list[Instances]
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """The RPN's proposals (none if no trained part needs them), and its losses if trained."""
        rpn, nucleus_filter = self.proposal_generator, self.roi_heads.nucleus_filter
        filter_learns = nucleus_filter is not None and nucleus_filter.training
        if not rpn.training and not (filter_learns and nucleus_filter.false_per_image):
            none = [Instances(size) for size in images.image_sizes]
            for proposed in none:
                proposed.proposal_boxes = Boxes(torch.zeros(0, 4, device=self.device))
            return none, {}
        with torch.set_grad_enabled(rpn.training and torch.is_grad_enabled()):
            return rpn(images, self.backbone(images.tensor), targets if rpn.training else None)

    def _negative_crops(self, batched_inputs: list[dict[str, Any]]) -> Tensor | None:
        crops = [x["negative_crops"] for x in batched_inputs if "negative_crops" in x]
        if not crops:
            return None
        return (torch.cat(crops).to(self.device) - self.pixel_mean) / self.pixel_std

    @torch.no_grad()
    def measure(self, batched_inputs: list[dict[str, Any]]) -> list[Measures]:
        """Losses as report 000 defines them, and other measures, on images with ground truth.

        Args:
            batched_inputs: with "image", "instances" and perhaps "negative_crops".

        Returns:
            For each image {name: (sum, count)} of :meth:`CropRPN.measure`, :func:`measure_crops`
            and :func:`measure_recall` together.
        """
        images = self.preprocess_image(batched_inputs)
        truth = [x["instances"].to(self.device) for x in batched_inputs]
        features = self.backbone(images.tensor)
        results: list[Measures] = self.proposal_generator.measure(features, truth)
        proposals, _ = self.proposal_generator(images, features)
        for i, (result, found) in enumerate(zip(results, proposals, strict=True)):
            result |= measure_recall(found.proposal_boxes, truth[i].gt_boxes)
            result |= measure_crops(
                self.roi_heads,
                images.tensor[i : i + 1],
                truth[i],
                found.proposal_boxes,
                self._negative_crops(batched_inputs[i : i + 1]),
            )
        return results
