"""Makes a model of the zoo from the checkpoint of a training; run by nucdet-export-weights."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from torch import nn

from nucdet.config import load_config
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.errors import InputError
from nucdet.files import write_atomically
from nucdet.modeling.building import build_network
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.model_zoo import PREFIX, ZooModel
from nucdet.train.averaging import average_checkpoints
from nucdet.train.familiarity import measure_familiarity
from nucdet.train.training_facts import UserFacts, training_facts

MAX_BYTES = 32 * 10**6


def export_weights(
    checkpoint: Path,
    name: str,
    folder: Path,
    config_file: Path | None = None,
    overrides: Sequence[str] = (),
    user_facts: UserFacts | None = None,
    familiar: str | None = None,
    average_with: Sequence[Path] = (),
) -> ZooModel:
    """Write weights, config and manifest of a trained model.

    Args:
        checkpoint: model_final.pth, model_best.pth or another checkpoint of a training.
        name: the name after ``nucdet://``.
        folder: the folder of the zoo.
        config_file: the config of the training; None: config.yaml in the checkpoint's folder.
        overrides: ``KEY VALUE`` pairs, e.g. thresholds that were chosen after the training.
        user_facts: facts that replace those found in the training's folder.
        familiar: the name of a data set on which the limit of familiarity is chosen, see
            :func:`nucdet.train.familiarity.measure_familiarity`; None: the model contains no
            statistics of its training images and never warns.
        average_with: further checkpoints of the same training; the model is the mean of all.

    Raises:
        FileNotFoundError: the checkpoint, the config or a data set of the training is missing.
        InputError: the checkpoint does not fit the config, is broken, or is too large.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise InputError(f"name {name!r}: expected small letters, digits and underscores")
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no such checkpoint")
    cfg = load_config(config_file or checkpoint.parent / "config.yaml", overrides)
    register_datasets()
    check_datasets(cfg.DATASETS.TRAIN)
    with _weights_file([checkpoint, *average_with]) as weights:
        network, iteration = _trained_network(cfg, weights)
        rest = {}
        if familiar is not None:
            rest["familiarity"] = measure_familiarity(cfg, weights, familiar).state()
    content = _as_bytes({"model": compress(network.state_dict()), **rest})
    _check_size(checkpoint, content)
    model = ZooModel(name, folder)
    manifest = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "config": model.config.name,
        **({"familiarity_limit_from": familiar} if familiar else {}),
        **({"mean_of_checkpoints": 1 + len(average_with)} if average_with else {}),
        **training_facts(
            cfg, checkpoint.parent, iteration, user_facts or UserFacts(), bool(average_with)
        ),
    }
    with write_atomically(model.weights) as temporary:
        temporary.write_bytes(content)
    with write_atomically(model.config) as temporary:
        temporary.write_text(_config_text(cfg, name), encoding="utf-8")
    with write_atomically(model.manifest) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return model


@contextmanager
def _weights_file(checkpoints: Sequence[Path]) -> Iterator[Path]:
    """The checkpoint or, if there are several, a temporary file with their mean."""
    if len(checkpoints) == 1:
        yield checkpoints[0]
        return
    with tempfile.TemporaryDirectory() as folder:
        mean = Path(folder) / checkpoints[0].name
        average_checkpoints(checkpoints, mean)
        yield mean


def _check_size(checkpoint: Path, content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise InputError(
            f"{checkpoint}: {len(content) / 1e6:.1f} MB in 16 bits, at most {MAX_BYTES / 1e6:.0f} "
            "MB may ship; take a smaller network"
        )


def compress(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors to store: matrices and kernels in 16 bits, if their range allows.

    Biases and the tensors of normalization, a hundredth of a network, stay in 32 bits.

    Raises:
        InputError: a value is not finite.
    """
    result = {}
    for key, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{key} in the checkpoint is not finite: the training diverged")
        small = tensor.is_floating_point() and tensor.dim() > 1
        if small and tensor.abs().max() <= torch.finfo(torch.float16).max:
            tensor = tensor.half()
        # a view would be stored with the whole tensor behind it
        result[key] = tensor.detach().clone()
    return result


def _trained_network(cfg: CfgNode, checkpoint: Path) -> tuple[nn.Module, int | None]:
    """The network with its weights loaded, which checks that they fit, and their iteration."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    network = build_network(cfg)
    rest = NucleusCheckpointer(network, complete=True).load(str(checkpoint))
    return network, rest.get("iteration")


def _as_bytes(content: dict[str, Any]) -> bytes:
    # written to memory, since torch stores the name of the file in it, and equal weights should
    # give equal bytes
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _config_text(cfg: CfgNode, name: str) -> str:
    """The keys that differ from Detectron2's defaults, as a yaml that needs no other file.

    It contains all keys of nucdet, so that this model does not change when their defaults do.
    """
    default = get_cfg()
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = PREFIX + name
    cfg.OUTPUT_DIR = f"output/{name}"
    # the config names the device of the training; evaluation should use a GPU if there is one
    cfg.MODEL.DEVICE = default.MODEL.DEVICE
    lean = _difference(cfg, default)
    lean.VERSION = cfg.VERSION
    header = f"# Written by nucdet-export-weights; how it was trained: {name}.json\n"
    return header + lean.dump()


def _difference(cfg: CfgNode, default: CfgNode) -> CfgNode:
    result = CfgNode()
    for key, value in cfg.items():
        if key not in default:
            result[key] = value
        elif isinstance(value, CfgNode):
            part = _difference(value, default[key])
            if part:
                result[key] = part
        elif json.dumps(value) != json.dumps(default[key]):  # a tuple equals a list
            result[key] = value
    return result
