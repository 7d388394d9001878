"""What MODEL.WEIGHTS may name besides files and Detectron2's own URLs; packages register it here.

A source is a word before ``://`` and a function that finds the weights and renames them to the
names of the model::

    @weight_source("filter")
    def read_filter(rest: str, model: nn.Module) -> Weights:  # filter://<rest>
        ...

A format describes a file whose weights have the names of another library: :func:`weight_format`.
Importing nucdet.modeling imports all its modules, so every source and format is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager
from torch import nn

from nucdet.modeling.checkpoint_files import read_checkpoint

# names of parameters and buffers -> tensors, or arrays in the files of Detectron2's zoo
Weights = dict[str, Any]
Reader = Callable[[str, nn.Module], Weights]
Renamer = Callable[[Mapping[str, Any]], Weights]

NO_WEIGHTS = 'go on with MODEL.WEIGHTS "" (random weights) or DSB2018/mask_rcnn_lite0_FPN.yaml'


@dataclass(frozen=True)
class WeightSource:
    """How the weights of ``<name>://<rest>`` are found.

    Attributes:
        read: takes ``rest`` and the model that will load the weights; returns weights with its
            names, or a checkpoint that holds them under "model".
        least_share: share of the model's parameters that they must fill.
        of_files: whether ``rest`` names other weights, separated by commas.
    """

    read: Reader
    least_share: float
    of_files: bool = False


@dataclass(frozen=True)
class WeightFormat:
    """How weights with the names of another library are recognised and renamed."""

    recognises: Callable[[Mapping[str, Any]], bool]
    rename: Renamer


_SOURCES: dict[str, WeightSource] = {}
_FORMATS: list[WeightFormat] = []


def weight_source(
    name: str, *, least_share: float = 0.0, of_files: bool = False
) -> Callable[[Reader], Reader]:
    """Decorator: the function reads the weights that MODEL.WEIGHTS names as ``<name>://<rest>``.

    Raises:
        ValueError: the name is taken.
    """

    def register(read: Reader) -> Reader:
        if name in _SOURCES:
            raise ValueError(f"a source of weights named {name!r} is registered already")
        _SOURCES[name] = WeightSource(read, least_share, of_files)
        return read

    return register


def weight_format(recognises: Callable[[Mapping[str, Any]], bool]) -> Callable[[Renamer], Renamer]:
    """Decorator: the function renames weights for which ``recognises`` is true."""

    def register(rename: Renamer) -> Renamer:
        _FORMATS.append(WeightFormat(recognises, rename))
        return rename

    return register


def source_names() -> list[str]:
    """The words before ``://`` that are registered."""
    return list(_SOURCES)


def find_source(path: str) -> tuple[WeightSource | None, str]:
    """The source that a path names and the rest of the path; None and the path for a file."""
    name, separator, rest = path.partition("://")
    if separator and name in _SOURCES:
        return _SOURCES[name], rest
    return None, path


def rename_known(weights: Weights) -> Weights:
    """Weights with nucdet's names if a format recognises them, else unchanged."""
    for known in _FORMATS:
        if known.recognises(weights):
            return known.rename(weights)
    return weights


def check_file(path: str, remedy: str = NO_WEIGHTS) -> None:
    """Raise FileNotFoundError if a path names a local file that does not exist.

    Args:
        path: any MODEL.WEIGHTS.
        remedy: the end of the message.
    """
    if "://" not in path and not Path(path).is_file():
        raise FileNotFoundError(f"MODEL.WEIGHTS {path}: no such file; {remedy}")


def read_weights(path: str, model: nn.Module) -> Weights:
    """The weights that any MODEL.WEIGHTS names, for sources that refer to other weights.

    Args:
        path: a file, one of Detectron2's URLs, or ``<source>://<rest>``.
        model: the model that will load them.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is not a checkpoint.
    """
    source, rest = find_source(path)
    if source is not None:
        content = source.read(rest, model)
        return content.get("model", content)
    check_file(path)
    content = read_checkpoint(PathManager.get_local_path(path))
    return rename_known(content.get("model", content))
