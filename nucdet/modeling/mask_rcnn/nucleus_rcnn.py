"""Mask R-CNN whose masks are never stored as an N×H×W array."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, channels_last

from nucdet.layers.roi_pooling import SparseROIPooler
from nucdet.modeling.mask_rcnn.fast_mask_head import FastMaskHead
from nucdet.structures.paste import paste_masks


@META_ARCH_REGISTRY.register()
class NucleusRCNN(GeneralizedRCNN):
    """Detectron2's GeneralizedRCNN that gives ``pred_masks`` as :class:`CroppedMasks`.

    Parameters, training, boxes and scores are the same; checkpoints fit both. The masks are those
    of ``detector_postprocess``, in the pixels of the original image.
    """

    @configurable
    def __init__(self, *, mask_threshold: float = 0.5, **kwargs: Any):
        """
        Args:
            mask_threshold: lowest probability of a pixel that belongs to a mask.
            **kwargs: see :class:`GeneralizedRCNN`.
        """
        super().__init__(**kwargs)
        self.mask_threshold = mask_threshold
        SparseROIPooler.convert(self.roi_heads)
        FastMaskHead.convert(getattr(self.roi_heads, "mask_head", None))
        self.to(memory_format=channels_last)  # halves the time on a CPU, see preprocess_image

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {
            **super().from_config(cfg),
            "mask_threshold": cfg.MODEL.ROI_MASK_HEAD.MASK_THRESH,
        }

    def preprocess_image(self, batched_inputs: list[dict[str, Tensor]]) -> ImageList:
        """See :meth:`GeneralizedRCNN.preprocess_image`; the result is channels-last on a CPU.

        In bfloat16, oneDNN is several times as fast with channels-last tensors, and feature maps
        keep the layout of the image.
        """
        images = super().preprocess_image(batched_inputs)
        if images.tensor.device.type == "cpu":
            images.tensor = images.tensor.contiguous(memory_format=channels_last)
        return images

    def inference(
        self,
        batched_inputs: list[dict[str, Tensor]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Instances]] | list[Instances]:
        """See :meth:`GeneralizedRCNN.inference`."""
        results = super().inference(batched_inputs, detected_instances, do_postprocess=False)
        if not do_postprocess:
            return results
        return [
            {"instances": self.to_original(result, inputs)}
            for result, inputs in zip(results, batched_inputs, strict=True)
        ]

    def to_original(self, result: Instances, inputs: dict[str, Any]) -> Instances:
        """Convert a result from the pixels of the network's input to those of the original image.

        Args:
            result: boxes, scores, classes and soft masks (N, 1, M, M), as without postprocessing.
            inputs: may contain "height" and "width" of the original image.
        """
        height, width = result.image_size
        size = inputs.get("height", height), inputs.get("width", width)
        result = Instances(size, **result.get_fields())
        result.pred_boxes = Boxes(result.pred_boxes.tensor.clone())
        result.pred_boxes.scale(size[1] / width, size[0] / height)
        result.pred_boxes.clip(size)
        result = result[result.pred_boxes.nonempty()]
        if result.has("pred_masks"):  # (N, 1, M, M)
            result.pred_masks = paste_masks(
                result.pred_masks[:, 0], result.pred_boxes.tensor, size, self.mask_threshold
            )
        return result
