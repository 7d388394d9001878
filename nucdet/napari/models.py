"""The models that the plug-in offers: shipped models, fine-tuned ones, and the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nucdet.modeling.model_zoo import DEFAULT_MODEL, MODEL_ZOO, PREFIX, ZooModel, model_names
from nucdet.predict import Segmenter

FINETUNED = "finetuned"  # the folder of fine-tuned models inside a training folder
CONFIG_FILE, WEIGHTS_FILE = "config.yaml", "model_final.pth"  # names given by a training


@dataclass(frozen=True)
class Model:
    """The files of a model, which need not be loaded yet.

    Attributes:
        name: shown to the user.
        config: the yaml file.
        weights: the checkpoint; None: the weights that the config names.
    """

    name: str
    config: Path
    weights: Path | None = None


def shipped_models() -> list[Model]:
    """The models inside the package, the default one first."""
    names = sorted(model_names(), key=lambda name: name != DEFAULT_MODEL)
    return [Model(f"{PREFIX}{name}", ZooModel(name, MODEL_ZOO).config) for name in names]


def finetuned_models(folder: Path) -> list[Model]:
    """The models that were fine-tuned on a training folder, the newest first."""
    # resolved, as the folder of a training is: a model has one and the same path in both
    finished = (folder.resolve() / FINETUNED).glob(f"*/{WEIGHTS_FILE}")
    parents = sorted((path.parent for path in finished), key=lambda p: p.stat().st_mtime)
    return [finetuned_model(parent) for parent in reversed(parents)]


def finetuned_model(output: Path) -> Model:
    """The model in the output folder ``<folder>/finetuned/<number>`` of a finished training."""
    name = f"{output.parents[1].name}: {FINETUNED} {output.name}"
    return Model(name, output / CONFIG_FILE, output / WEIGHTS_FILE)


class LoadedModel:
    """Keeps the most recently used model in memory, because loading one takes seconds.

    It is loaded again when its config or its weights have been written anew, as by a training.
    """

    def __init__(self) -> None:
        self._loaded: tuple[Model, float | None] | None = None
        self._segmenter: Segmenter | None = None
        self._times: list[int] = []

    def segmenter(self, model: Model, threshold: float | None = None) -> Segmenter:
        """A segmenter with this model and threshold, loaded unless it was the last one used.

        Args:
            model: the model to use.
            threshold: score threshold, see :class:`nucdet.predict.Segmenter`.

        Raises:
            FileNotFoundError: config or weights do not exist.
            InputError: config, weights or ``threshold`` are invalid.
        """
        if (model, threshold) != self._loaded or self._times != self._file_times(model):
            self._loaded = self._segmenter = None  # free the memory of the previous model first
            self._segmenter = Segmenter(model.config, model.weights, threshold=threshold)
            self._loaded = (model, threshold)
            self._times = self._file_times(model)
        return self._segmenter

    def _file_times(self, model: Model) -> list[int]:
        """When config and weights were written; 0 for weights that are no file on disk."""
        files = [model.config, Path(self._segmenter.cfg.MODEL.WEIGHTS)]
        return [path.stat().st_mtime_ns if path.is_file() else 0 for path in files]
