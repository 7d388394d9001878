"""Wraps a model so that evaluators get the same predictions as from a :class:`Segmenter`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from nucdet.data.io.windows import ImageWindows
from nucdet.predict.finding import Finder
from nucdet.predict.network import Network


class EvaluatedModel:
    """Predicts inputs of :class:`nucdet.data.evaluation_mapper.EvaluationMapper`.

    The instances are those that :class:`nucdet.predict.Segmenter` finds, before overlap
    elimination, which is done once for all evaluators, see :mod:`nucdet.evaluation.build`.
    """

    def __init__(self, cfg: CfgNode, network: Network):
        """
        Args:
            cfg: the config of the network.
            network: the network that finds nuclei.
        """
        self._network = network
        self._find = Finder(cfg, network)

    def __call__(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predict a batch.

        Returns:
            For each image ``"instances"``, in pixels of its "height" and "width", and
            ``"subsystems"`` if all inputs have "measured" and the model can measure its parts.
        """
        sources = [ImageWindows(x["image"].permute(1, 2, 0).numpy()) for x in batched_inputs]
        # a perturbation may have changed the size of an image, but not of its ground truth
        sizes = [(x["height"], x["width"]) for x in batched_inputs]
        found = self._find(sources, sizes=sizes)
        outputs: list[dict[str, Any]] = [{"instances": one.instances} for one in found]
        measure = getattr(self._network.bare_model, "measure", None)
        if measure is not None and all("measured" in x for x in batched_inputs):
            measured = measure([x["measured"] for x in batched_inputs])
            for output, measures in zip(outputs, measured, strict=True):
                output["subsystems"] = measures
        return outputs


@contextmanager
def evaluated(cfg: CfgNode, model: nn.Module) -> Iterator[EvaluatedModel]:
    """Prepare a model (it may be in training) for evaluation, and restore it afterwards.

    Within the context it runs as in prediction (channels-last, precision "auto", TEST.AUG).
    """
    network = Network(cfg, model)
    try:
        yield EvaluatedModel(cfg, network)
    finally:
        network.close()
