"""A trained network, set up for fast inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nucdet.data.augment.geometry import Resize, evaluation_resize
from nucdet.data.mapper import convert_format
from nucdet.errors import InputError
from nucdet.layers.convolution import fixed_norms
from nucdet.layers.precision import computes_bfloat16
from nucdet.modeling.building import build_network
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.familiarity import Familiarity, FeatureTap, Seen
from nucdet.modeling.mask_rcnn.augmented_inference import AugmentedRCNN
from nucdet.structures import CroppedMasks

PRECISIONS = ("auto", "float32", "bfloat16")

# Largest number of pixels in a batch on a GPU. On a CPU images are predicted one by one: four of
# 512 × 512 at once took a fifth longer (lite0, one thread), and the last digits of a result would
# depend on the other images of its batch.
_BATCH_PIXELS = 1 << 23

# size of an image, in pixels, for which a config's limits on proposals and detections are meant
_USUAL_PIXELS = 1 << 19


# uint8 (H, W, 3) RGB, its zoom, and (height, width) of the result where it is another one
NetworkInput = tuple[np.ndarray, float] | tuple[np.ndarray, float, tuple[int, int]]


class NetworkOutput(NamedTuple):
    """The network's output for an image or a part of one.

    Attributes:
        instances: the nuclei in the image's pixels, on the CPU; masks as CroppedMasks, none empty.
        seen: features of the encoder; None for networks without an encoder.
    """

    instances: Instances
    seen: Seen | None = None


class Network:
    """Rescales images by a given zoom and predicts raw Instances, before overlap elimination.

    Convolutions run channels-last. With ``"bfloat16"``, the box and mask heads of an R-CNN compute
    in 16 bits, which reduces their time to a half or a third. Backbone and proposals stay in 32
    bits: in 16 bits they lower the DSB2018 score by 0.005, while the heads do not lower it (18
    images, lite0). Semantic networks compute entirely in 16 bits. With TEST.AUG.ENABLED an R-CNN
    predicts several views of each image.

    The model is modified in place; :meth:`close` restores it, so that its training can continue.

    Attributes:
        familiarity: statistics of the training images from the file of the weights, or None.
    """

    familiarity: Familiarity | None = None

    def __init__(self, cfg: CfgNode, model: nn.Module, precision: str = "auto"):
        """
        Args:
            cfg: the config of the model.
            model: the model with its weights, wrapped for data-parallel training or not.
            precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on CPUs that support
                it, else float32.

        Raises:
            InputError: an unknown precision, or TEST.AUG.ENABLED for a network that does not
                support it.
        """
        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
        self.bare_model = model.module if isinstance(model, DistributedDataParallel) else model
        self.model = self.bare_model
        if cfg.TEST.AUG.ENABLED:
            self.model = AugmentedRCNN.from_config(cfg, self.bare_model)
        self.device = torch.device(cfg.MODEL.DEVICE)
        self.image_format = cfg.INPUT.FORMAT
        self._rule = evaluation_resize(cfg)
        self._undo = ExitStack()
        self.tap = FeatureTap(self.bare_model)
        self._undo.callback(self.tap.close)
        for module in self.bare_model.modules():
            self._undo.callback(setattr, module, "training", module.training)
        self.bare_model.eval()
        _to_channels_last(self.bare_model, self._undo)
        self._undo.enter_context(fixed_norms(self.bare_model))
        on_cpu = self.device.type == "cpu"
        if precision == "bfloat16" or (precision == "auto" and on_cpu and computes_bfloat16()):
            _lower_precision(self.bare_model, self._undo)

    @classmethod
    def load(cls, cfg: CfgNode, precision: str = "auto") -> Network:
        """Build the model of a config and load MODEL.WEIGHTS.

        Raises:
            FileNotFoundError, InputError: the weights cannot be read, or as for the constructor.
        """
        model = build_network(cfg)
        rest = NucleusCheckpointer(model, complete=True).load(cfg.MODEL.WEIGHTS)
        network = cls(cfg, model, precision)
        network.familiarity = Familiarity.from_checkpoint(rest)
        return network

    def close(self) -> None:
        """Restore the model; this object cannot be used afterwards."""
        self._undo.close()

    def zoom(self, height: int, width: int) -> float:
        """The factor by which evaluation resizes an image of this size."""
        return self._rule(height, width)

    def __call__(
        self, images: Iterable[NetworkInput], capacity: float = 1.0
    ) -> Iterator[NetworkOutput]:
        """Predict images one by one; on a GPU, consecutive images of equal size form batches.

        Args:
            images: see :data:`NetworkInput`; read lazily, a batch at a time.
            capacity: factor on the limits on proposals and detections.

        Yields:
            The output for each image, in its own pixels or in those of the given size.
        """
        inputs = (self._input(*image) for image in images)
        # with several views the images of a batch would be predicted one by one anyway, and the tap
        # would hear only the first of them
        together = self.device.type == "cuda" and self.model is self.bare_model
        for batch in _batches(inputs, _BATCH_PIXELS if together else 0):
            self.tap.take()  # discard what a failed batch has left
            with torch.no_grad(), _capacity(self.model, capacity):
                outputs = self.model(batch)
            seen = self.tap.take()
            for i, output in enumerate(outputs):
                instances = output["instances"].to("cpu")
                instances.pred_masks = CroppedMasks.from_any(instances.pred_masks)
                instances = instances[instances.pred_masks.nonempty()]
                yield NetworkOutput(instances, seen[i] if seen else None)

    def _input(
        self, image: np.ndarray, zoom: float, size: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        resize = Resize(lambda height, width: zoom).get_transform(image)
        resized = convert_format(resize.apply_image(image), self.image_format)
        tensor = torch.from_numpy(resized.transpose(2, 0, 1).copy())
        height, width = size or image.shape[:2]
        return {"image": tensor, "height": height, "width": width}


def usual_capacity(size: tuple[int, int], zoom: float) -> float:
    """The factor on a config's limits for an image of (height, width) at a zoom, at least 1."""
    return max(1.0, size[0] * size[1] * zoom**2 / _USUAL_PIXELS)


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


def _to_channels_last(model: nn.Module, undo: ExitStack) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            undo.callback(setattr, tensor, "data", tensor.data)
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def _lower_precision(model: nn.Module, undo: ExitStack) -> None:
    """Make an R-CNN's heads or a semantic network compute in bfloat16; other parts do not."""
    heads = getattr(model, "roi_heads", None)
    candidates = (
        (getattr(heads, "box_head", None), "forward"),
        (getattr(heads, "mask_head", None), "layers"),
        (getattr(model, "network", None), "forward"),
    )
    for part, method in candidates:
        if hasattr(part, method):
            if method in vars(part):
                undo.callback(setattr, part, method, vars(part)[method])
            else:
                undo.callback(delattr, part, method)
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
    """Multiply an R-CNN's limits on proposals and detections, which are for usual image sizes."""
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
        setattr(owner, name, _scaled(limit, factor))
    try:
        yield
    finally:
        for (owner, name), limit in zip(limits, before, strict=True):
            setattr(owner, name, limit)


def _scaled(limit: int | dict[bool, int], factor: float) -> int | dict[bool, int]:
    if isinstance(limit, dict):  # limits on proposals, with the model's training mode as the key
        return {training: int(number * factor) for training, number in limit.items()}
    return int(limit * factor)
