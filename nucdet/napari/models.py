"""The models that the plug-in offers: those that ship, fine-tuned ones, and the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nucdet.modeling.model_zoo import DEFAULT_MODEL, MODEL_ZOO, PREFIX, ZooModel, model_names
from nucdet.predict import Segmenter

FINETUNED = "finetuned"  # the folder of fine-tuned models inside a training folder
CONFIG_FILE, WEIGHTS_FILE = "config.yaml", "model_final.pth"  # as a training leaves them


@dataclass(frozen=True)
class Model:
    """A network with its weights, not loaded.

    Attributes:
        name: what the user sees.
        config: the yaml.
        weights: a checkpoint; None: those that the config names.
    """

    name: str
    config: Path
    weights: Path | None = None


def shipped_models() -> list[Model]:
    """The models inside the package, the default one first."""
    names = sorted(model_names(), key=lambda name: name != DEFAULT_MODEL)
    return [Model(f"{PREFIX}{name}", ZooModel(name, MODEL_ZOO).config) for name in names]


def finetuned_models(folder: Path) -> list[Model]:
    """Those that were fine-tuned on a training folder, the newest first."""
    finished = (folder / FINETUNED).glob(f"*/{WEIGHTS_FILE}")
    parents = sorted((path.parent for path in finished), key=lambda p: p.stat().st_mtime)
    return [finetuned_model(parent) for parent in reversed(parents)]


def finetuned_model(output: Path) -> Model:
    """The model that a training has left in its output folder."""
    name = f"{output.parents[1].name}: {FINETUNED} {output.name}"
    return Model(name, output / CONFIG_FILE, output / WEIGHTS_FILE)


class LoadedModel:
    """Keeps the network that was used last, since loading one takes seconds."""

    def __init__(self) -> None:
        self._loaded: tuple[Model, float | None] | None = None
        self._segmenter: Segmenter | None = None

    def segmenter(self, model: Model, threshold: float | None = None) -> Segmenter:
        """The model, loaded; arguments as for :class:`nucdet.predict.Segmenter`.

        Raises:
            FileNotFoundError, InputError: see there.
        """
        if (model, threshold) != self._loaded:
            self._loaded = self._segmenter = None  # frees its memory first
            self._segmenter = Segmenter(model.config, model.weights, threshold=threshold)
            self._loaded = (model, threshold)
        return self._segmenter
