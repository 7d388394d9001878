"""The trained models that ship with the package, ``nucdet://<name>``, and their manifests.

A model is three files of ``nucdet/model_zoo/``: ``<name>.pth`` (only weights, in 16 bits),
``<name>.yaml`` (a config without a base) and ``<name>.json``, the manifest, with the sha256 of the
weights and how they were trained. ``nucdet-export-weights`` writes them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from torch import nn

from nucdet.errors import InputError, similar_names
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.weight_sources import Weights, weight_source

MODEL_ZOO = Path(__file__).parent.parent / "model_zoo"
PREFIX = "nucdet://"
# used for prediction if no config is given
DEFAULT_MODEL = "nuclei"

_REMEDY = "restore it with `git checkout -- nucdet/model_zoo`, or install nucdet again"


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo; ``folder`` holds its three files."""

    name: str
    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.name}.pth"

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def manifest(self) -> Path:
        return self.folder / f"{self.name}.json"

    def read_manifest(self) -> dict[str, Any]:
        """The manifest's content, with a sha256.

        Raises:
            InputError: it is damaged.
        """
        try:
            content = json.loads(self.manifest.read_text(encoding="utf-8"))
            content["sha256"].lower()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{self.manifest}: not a manifest with a sha256 ({type(error).__name__}: {error}); "
                + _REMEDY
            ) from error
        return content

    def check(self) -> None:
        """Compare the weights with the manifest.

        Raises:
            InputError: a file is missing, or the weights are not those of the manifest.
        """
        for path in (self.config, self.weights):
            if not path.is_file():
                raise InputError(f"{path}: missing, but {self.manifest} names it; {_REMEDY}")
        expected = self.read_manifest()["sha256"]
        with self.weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise InputError(
                f"{self.weights}: sha256 is {found}, expected {expected} ({self.manifest.name}); "
                f"the file is damaged or not the one that belongs there: {_REMEDY}"
            )


def model_names() -> list[str]:
    """The names of the models that ship with this copy of nucdet."""
    return sorted(path.stem for path in MODEL_ZOO.glob("*.json"))


def find_model(name: str) -> ZooModel:
    """The model of this name, after comparing its weights with its manifest.

    Args:
        name: with or without ``nucdet://``.

    Raises:
        InputError: there is no such model, or one of its files is missing or has other content.
    """
    name = name.removeprefix(PREFIX)
    names = model_names()
    if name not in names:
        likely = ", ".join(similar_names(names, name) or names)
        ships = f"the shipped models are {likely}" if likely else "no model ships with this copy"
        raise InputError(
            f"{PREFIX}{name}: unknown model; {ships}; for weights of your own, give their path"
        )
    model = ZooModel(name, MODEL_ZOO)
    model.check()
    return model


# someone who names a shipped model wants most of it, not the few parameters that happen to fit
@weight_source("nucdet", least_share=0.5)
def read_zoo_model(name: str, model: nn.Module) -> Weights:
    """The checkpoint of a shipped model, verified by its hash; see :func:`find_model`."""
    return read_checkpoint(find_model(name).weights)


class ModelZooHandler(PathHandler):
    """Lets Detectron2's own tools open ``nucdet://<name>``, verified by its hash."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(find_model(path).weights)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return Path(self._get_local_path(path)).open(mode, buffering=buffering)


PathManager.register_handler(ModelZooHandler(), allow_override=True)
