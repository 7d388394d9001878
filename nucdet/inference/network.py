"""A trained network, set up to be asked quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from nucdet.data.augmentation import Resize, build_test_augmentation
from nucdet.data.dataset_mapper import convert_format
from nucdet.errors import InputError
from nucdet.layers.precision import computes_bfloat16
from nucdet.modeling.augmented_inference import AugmentedRCNN
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.structures import CroppedMasks

PRECISIONS = ("auto", "float32", "bfloat16")

# Pixels of a batch on a GPU. On a CPU pictures go one by one: four of 512 × 512 at once took a
# fifth longer (lite0, one thread), and a result's last digits would depend on its neighbours.
_BATCH_PIXELS = 1 << 23


class Network:
    """Pictures in, raw Instances out: resized as in evaluation, or by a given zoom.

    Convolutions run channels-last. With ``"bfloat16"`` an R-CNN's box and mask heads compute in 16
    bits, for half to a third of their time; backbone and proposals stay in 32, where 16 cost 0.005
    of the DSB2018 score while the heads cost nothing (18 pictures, lite0). Semantic networks
    compute in 16 bits as a whole. With TEST.AUG.ENABLED an R-CNN looks at each picture in several
    views.
    """

    def __init__(self, cfg: CfgNode, precision: str = "auto"):
        """
        Args:
            cfg: with MODEL.WEIGHTS and MODEL.DEVICE.
            precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on a CPU that computes
                with it.

        Raises:
            FileNotFoundError, InputError: the weights cannot be read; an unknown precision;
                TEST.AUG.ENABLED for a network that has no such views.
        """
        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
        model = build_model(cfg)
        NucleusCheckpointer(model, complete=True).load(cfg.MODEL.WEIGHTS)
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.device = torch.device(cfg.MODEL.DEVICE)
        on_cpu = self.device.type == "cpu"
        if precision == "bfloat16" or (precision == "auto" and on_cpu and computes_bfloat16()):
            _lower_precision(self.model)
        if cfg.TEST.AUG.ENABLED:
            self.model = AugmentedRCNN.from_config(cfg, self.model)
        self.image_format = cfg.INPUT.FORMAT
        self._rule = build_test_augmentation(cfg)[0].rule

    def zoom(self, height: int, width: int) -> float:
        """The factor by which evaluation resizes a picture of this size."""
        return self._rule(height, width)

    def __call__(
        self, pictures: Iterable[tuple[np.ndarray, float]], capacity: float = 1.0
    ) -> Iterator[Instances]:
        """Predict pictures one after the other; on a GPU, neighbours of equal size in one batch.

        Args:
            pictures: (uint8 (H, W, 3) RGB, zoom) each; read lazily, a batch at a time.
            capacity: by how much the limits on proposals and detections grow.

        Yields:
            For each picture, in its own pixels, on the CPU, masks as CroppedMasks, none empty.
        """
        inputs = (self._input(image, zoom) for image, zoom in pictures)
        for batch in _batches(inputs, _BATCH_PIXELS if self.device.type == "cuda" else 0):
            with torch.inference_mode(), _capacity(self.model, capacity):
                outputs = self.model(batch)
            for output in outputs:
                instances = output["instances"].to("cpu")
                instances.pred_masks = CroppedMasks.from_any(instances.pred_masks)
                yield instances[instances.pred_masks.nonempty()]

    def _input(self, image: np.ndarray, zoom: float) -> dict[str, Any]:
        resize = Resize(lambda height, width: zoom).get_transform(image)
        resized = convert_format(resize.apply_image(image), self.image_format)
        tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        return {"image": tensor, "height": image.shape[0], "width": image.shape[1]}


def _batches(inputs: Iterable[dict[str, Any]], pixels: int) -> Iterator[list[dict[str, Any]]]:
    for (_, height, width), same in groupby(inputs, lambda item: tuple(item["image"].shape)):
        batch: list[dict[str, Any]] = []
        for item in same:
            batch.append(item)
            if (len(batch) + 1) * height * width > pixels:
                yield batch
                batch = []
        if batch:
            yield batch


def _lower_precision(model: nn.Module) -> None:
    """Let an R-CNN's heads or a semantic network compute in bfloat16; others stay as they are."""
    heads = getattr(model, "roi_heads", None)
    candidates = (
        (getattr(heads, "box_head", None), "forward"),
        (getattr(heads, "mask_head", None), "layers"),
        (getattr(model, "network", None), "forward"),
    )
    for part, method in candidates:
        if hasattr(part, method):
            setattr(part, method, _in_bfloat16(getattr(part, method)))


def _in_bfloat16(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def lowered(features: torch.Tensor) -> torch.Tensor:
        if features.dim() == 4:
            features = features.contiguous(memory_format=torch.channels_last)
        with torch.autocast(features.device.type, torch.bfloat16):
            return function(features).float()

    return lowered


@contextmanager
def _capacity(model: nn.Module, factor: float) -> Iterator[None]:
    """Raise an R-CNN's limits on proposals and detections, set for pictures of usual size."""
    detector = model.model if isinstance(model, AugmentedRCNN) else model
    rpn = getattr(detector, "proposal_generator", None)
    heads = getattr(detector, "roi_heads", None)
    predictor = getattr(heads, "box_predictor", heads)
    if factor == 1 or rpn is None or predictor is None:
        yield
        return
    limits = [
        (rpn, "pre_nms_topk"),
        (rpn, "post_nms_topk"),
        (predictor, "test_topk_per_image"),
        *([(model, "max_detections")] if model is not detector else []),
    ]
    before = [getattr(owner, name) for owner, name in limits]
    for (owner, name), limit in zip(limits, before, strict=True):
        setattr(owner, name, _raised(limit, factor))
    try:
        yield
    finally:
        for (owner, name), limit in zip(limits, before, strict=True):
            setattr(owner, name, limit)


def _raised(limit: int | dict[bool, int], factor: float) -> int | dict[bool, int]:
    if isinstance(limit, dict):  # of the proposals, by training or not
        return {training: int(number * factor) for training, number in limit.items()}
    return int(limit * factor)
