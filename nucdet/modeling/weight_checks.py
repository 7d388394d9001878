"""Whether MODEL.WEIGHTS can be found, before a network is built that would wait for them."""

from __future__ import annotations

import os
from pathlib import Path

from detectron2.config import CfgNode

from nucdet.errors import InputError
from nucdet.modeling.model_zoo import PREFIX, find_model
from nucdet.modeling.weight_sources import NO_WEIGHTS, check_file, find_source, source_names

# where Detectron2's own loader looks
_PLACES = ("detectron2", "http", "https")
_TRAINED = "give those of a training, output/…/model_best.pth"


def check_weights(weights: str, remedy: str = NO_WEIGHTS) -> None:
    """Look for what MODEL.WEIGHTS names, as far as that needs no download.

    Args:
        weights: MODEL.WEIGHTS.
        remedy: what to do without a file, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: no such model of nucdet's, or a word before ``://`` that nothing knows.
    """
    if not weights:
        return
    source, rest = find_source(weights)
    if weights.startswith(PREFIX):
        find_model(weights)
    elif source is not None and source.of_files:
        for part in rest.split(","):
            check_weights(part, remedy)
    elif source is None and "://" in weights:
        scheme = weights.partition("://")[0]
        known = sorted({*source_names(), *_PLACES})
        if scheme not in known:
            raise InputError(
                f"MODEL.WEIGHTS {weights}: nothing is known of {scheme}://; expected a file or "
                f"one of {', '.join(f'{name}://' for name in known)}"
            )
    elif source is None:
        check_file(weights, remedy)


def weight_files(weights: str) -> list[Path]:
    """The files of this machine that MODEL.WEIGHTS names, those inside other sources too.

    Weights that are downloaded or come with a package are none: their content does not change.

    Raises:
        InputError: no such model of nucdet's.
    """
    if weights.startswith(PREFIX):
        return [find_model(weights).weights]
    source, rest = find_source(weights)
    if source is None:
        return [Path(weights)] if Path(weights).is_file() else []
    parts = rest.split(",") if source.of_files else []
    return [file for part in parts for file in weight_files(part)]


def check_trained(cfg: CfgNode, config_file: str | os.PathLike[str]) -> None:
    """Look for the weights of a network that is to predict, which random ones would not do for.

    Args:
        cfg: of the network.
        config_file: for the message.

    Raises:
        FileNotFoundError, InputError: see :func:`check_weights`, or none are named.
    """
    if cfg.MODEL.SEGMENTATION.NETWORK == "none":
        return  # there is nothing to load them into
    weights = cfg.MODEL.WEIGHTS
    if not weights or weights.startswith("imagenet://"):
        raise InputError(
            f"{config_file}: names no trained weights (MODEL.WEIGHTS is {weights!r}); {_TRAINED}"
        )
    check_weights(weights, _TRAINED)
