"""``filter://<checkpoint>``: initialize the RPN from a trained nucleus filter (report 000)."""

from __future__ import annotations

from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.weight_sources import Weights, read_weights, weight_source

_FILTER_BACKBONE = "roi_heads.nucleus_filter.backbone."


@weight_source("filter", of_files=True)
def read_with_filter_as_backbone(path: str, model: nn.Module) -> Weights:
    """CropRCNN's weights, in which the RPN's backbone gets those of the nucleus filter's backbone.

    Args:
        path: a checkpoint, or another source of weights.
        model: the CropRCNN that will load them.

    Returns:
        Weights under the names of ``model``.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        InputError: it holds no nucleus filter.
    """
    weights = read_weights(path, model)
    renamed = {
        name.replace(_FILTER_BACKBONE, "backbone."): value
        for name, value in weights.items()
        if name.startswith(_FILTER_BACKBONE)
    }
    if not renamed:
        raise InputError(
            f"MODEL.WEIGHTS filter://{path}: holds no nucleus filter; train one first, with "
            "configs/DSB2018/crop_rcnn.yaml"
        )
    return weights | renamed
