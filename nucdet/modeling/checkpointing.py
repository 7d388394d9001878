"""Reading and writing checkpoints, from files and the places of nucdet.modeling.path_handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from nucdet.errors import InputError
from nucdet.files import write_atomically
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.model_zoo import PREFIX as MODEL_ZOO_PREFIX
from nucdet.modeling.path_handlers import IMAGENET_PACKAGES
from nucdet.modeling.semantic.networks.fcn8s import fcn_of_vgg16, is_vgg16

_NO_WEIGHTS = 'go on with MODEL.WEIGHTS "" (random weights) or configs/DSB2018/mask_rcnn_lite0_FPN'

# before the checkpoints of an ensemble's members, with commas between them
_ENSEMBLE = "ensemble://"

# before a checkpoint of CropRCNN: its RPN's backbone gets the weights of its nucleus filter's
_FILTER = "filter://"
_FILTER_BACKBONE = "roi_heads.nucleus_filter.backbone."


class NucleusCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer that also reads ``imagenet://`` and explains what went wrong.

    Detectron2's loads what fits and leaves the rest random with a warning. Here a file of which
    nothing fits is an error, as is ``nucdet://`` with less than half of the model's parameters, and
    with ``complete`` any file that does not fill the whole model.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, complete: bool = False, **kwargs: Any
    ):
        """
        Args:
            model, save_dir, kwargs: see :class:`DetectionCheckpointer`.
            complete: every parameter must come from the file, as evaluation and prediction need
                it; a training may start from a part of them, such as a backbone.
        """
        super().__init__(model, save_dir, **kwargs)
        self._complete = complete
        self._source = ""

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
            InputError: the file is not a checkpoint, cannot be downloaded, or belongs to another
                network.
        """
        self._source = path
        if path.startswith(_ENSEMBLE):
            self._load_ensemble(path.removeprefix(_ENSEMBLE).split(","))
            return {}
        path = path.removeprefix(_FILTER)
        if path and "://" not in path and not Path(path).is_file():
            raise FileNotFoundError(f"MODEL.WEIGHTS {path}: no such file; {_NO_WEIGHTS}")
        try:
            return super().load(path, *args, **kwargs)
        except URLError as error:
            raise InputError(
                f"MODEL.WEIGHTS {path}: cannot be downloaded ({error.reason}); {_NO_WEIGHTS}"
            ) from error
        finally:
            # Detectron2 keeps it after an error, and would fail at the next call
            self._parsed_url_during_load = None

    def _load_file(self, filename: str) -> dict[str, Any]:
        for module, _, network in IMAGENET_PACKAGES.values():
            if f"/{module}/" in Path(filename).as_posix():
                weights = _as_timm_weights(read_checkpoint(filename), network)
                prefix = _timm_prefix(self.model, next(iter(weights)))
                return {"model": {prefix + name: value for name, value in weights.items()}}
        loaded = self._as_checkpoint(read_checkpoint(filename), filename)
        if self._source.startswith(_FILTER):
            return {"model": _with_filter_as_backbone(loaded["model"], filename)}
        if is_vgg16(loaded["model"]):
            weights = fcn_of_vgg16(loaded["model"])
            return {"model": {f"network.{name}": value for name, value in weights.items()}}
        return loaded

    def _as_checkpoint(self, content: dict[str, Any], filename: str) -> dict[str, Any]:
        """``{"model": weights, …}`` of a training, of bare weights, or of a model zoo's pickle."""
        if filename.endswith(".pkl") and "__author__" not in content:  # Detectron's zoo
            blobs = content.get("blobs", content)
            weights = {k: v for k, v in blobs.items() if not k.endswith("_momentum")}
            content = {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
        if "model" not in content:
            content = {"model": content}
        if parse_qs(self._parsed_url_during_load.query).get("matching_heuristics") == ["True"]:
            content["matching_heuristics"] = True
        return content

    def _load_ensemble(self, paths: list[str]) -> None:
        """Fill each member of a :class:`MeanEnsemble` from the checkpoint of its own training."""
        members = getattr(getattr(self.model, "network", None), "members", ())
        if len(members) != len(paths):
            raise InputError(
                f"MODEL.WEIGHTS {self._source}: names {len(paths)} checkpoints, and the config's "
                f"network has {len(members)} members; give one for each, in order"
            )
        for member, path in zip(members, paths, strict=True):
            alone = nn.Module()
            alone.network = member
            NucleusCheckpointer(alone, complete=True).load(path)

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        self._check_fit(set(incompatible.missing_keys))
        return incompatible

    def _check_fit(self, missing: set[str]) -> None:
        names = [name for name, _ in self.model.named_parameters()]
        lacking = [name for name in names if name in missing]
        needed = min(1, len(names))
        if self._complete:
            needed = len(names)
        elif self._source.startswith(MODEL_ZOO_PREFIX):
            needed = len(names) // 2  # whoever starts from a model of ours means that model
        if len(names) - len(lacking) >= needed:
            return
        raise InputError(
            f"MODEL.WEIGHTS {self._source}: weights of another network; they fill "
            f"{len(names) - len(lacking)} of the {len(names)} parameters of the config's "
            f"{type(self.model).__name__}, not {lacking[0]}; give the config that they were "
            "trained with"
        )


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
            renamed[name] = value
    return renamed


def _timm_prefix(model: nn.Module, first: str) -> str:
    """Where ``model`` has its timm network: what its names put before that of the first tensor."""
    for name in model.state_dict():
        if name.endswith(f".{first}"):
            return name.removesuffix(first)
    raise InputError(
        f"MODEL.WEIGHTS: holds a timm network, and {type(model).__name__} has none of this kind; "
        'set MODEL.WEIGHTS ""'
    )


def _with_filter_as_backbone(weights: dict[str, Any], path: str) -> dict[str, Any]:
    """CropRCNN's weights with the RPN's backbone taken from the nucleus filter's."""
    renamed = {
        name.replace(_FILTER_BACKBONE, "backbone."): value
        for name, value in weights.items()
        if name.startswith(_FILTER_BACKBONE)
    }
    if not renamed:
        raise InputError(
            f"MODEL.WEIGHTS {_FILTER}{path}: holds no nucleus filter; train one first, with "
            "configs/DSB2018/crop_rcnn.yaml"
        )
    return weights | renamed
