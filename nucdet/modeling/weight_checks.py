"""Checks that MODEL.WEIGHTS exist, before time is spent on building a network for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from nucdet.errors import InputError
from nucdet.modeling.model_zoo import PREFIX, find_model
from nucdet.modeling.weight_sources import NO_WEIGHTS, check_file, find_source, source_names

# what Detectron2's own loader reads
_PLACES = ("detectron2", "http", "https")
# what a training writes next to its config.yaml
_RESULTS = ("model_final.pth", "model_best.pth")
_TRAINED = "give those of a training, output/…/model_best.pth"


def check_weights(weights: str, remedy: str = NO_WEIGHTS) -> None:
    """Check that the weights in MODEL.WEIGHTS exist, as far as possible without a download.

    Args:
        weights: MODEL.WEIGHTS.
        remedy: what to do without a file, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: there is no such shipped model, or the word before ``://`` is unknown.
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
                f"MODEL.WEIGHTS {weights}: unknown source {scheme}://; expected a file or "
                f"one of {', '.join(f'{name}://' for name in known)}"
            )
    elif source is None:
        check_file(weights, remedy)


def weight_files(weights: str) -> list[Path]:
    """The local files that MODEL.WEIGHTS names, including those inside other sources.

    Weights that are downloaded or come with a package are left out: their content does not change.

    Raises:
        InputError: there is no such shipped model.
    """
    if weights.startswith(PREFIX):
        return [find_model(weights).weights]
    source, rest = find_source(weights)
    if source is None:
        return [Path(weights)] if Path(weights).is_file() else []
    parts = rest.split(",") if source.of_files else []
    return [file for part in parts for file in weight_files(part)]


def check_trained(
    cfg: CfgNode, config_file: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> None:
    """Check that a network used for prediction has trained weights, and that they exist.

    Args:
        cfg: of the network.
        config_file: that it was loaded from.
        overrides: KEY VALUE pairs that were given in addition to the file; whoever names
            MODEL.WEIGHTS in them means them.

    Raises:
        FileNotFoundError, InputError: see :func:`check_weights`; or none are named, or only those
            from which the training that wrote the file started.
    """
    if cfg.MODEL.SEGMENTATION.NETWORK == "none":
        return  # there is nothing to load them into
    weights = cfg.MODEL.WEIGHTS
    if not weights or weights.startswith("imagenet://"):
        raise InputError(
            f"{config_file}: names no trained weights (MODEL.WEIGHTS is {weights!r}); {_TRAINED}"
        )
    check_weights(weights, _TRAINED)
    folder = Path(config_file).resolve().parent
    results = [folder / name for name in _RESULTS if (folder / name).is_file()]
    is_of_training = Path(config_file).name == "config.yaml" and results
    is_chosen = "MODEL.WEIGHTS" in overrides[::2]
    if is_of_training and not is_chosen and folder not in map(_folder, weight_files(weights)):
        raise InputError(
            f"{config_file}: its MODEL.WEIGHTS {weights} are those that the training started from; "
            f"add MODEL.WEIGHTS {Path(config_file).with_name(results[0].name)}, or these if you "
            "mean them"
        )


def _folder(file: Path) -> Path:
    return file.resolve().parent
