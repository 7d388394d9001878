"""Reads and writes checkpoints: files, Detectron2's URLs, and registered sources of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from nucdet.errors import InputError
from nucdet.files import find_left_over, write_atomically
from nucdet.modeling.checkpoint_files import read_checkpoint
from nucdet.modeling.weight_sources import NO_WEIGHTS, check_file, find_source, rename_known


class NucleusCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer that also reads nucdet's sources and explains what went wrong.

    Detectron2's own loads what fits, warns, and leaves the rest random. Here it is an error if
    nothing fits, if weights from a source (nucdet.modeling.weight_sources) fill less than its
    ``least_share`` of the model, and, with ``complete``, if they do not fill the whole model.
    """

    def __init__(
        self, model: nn.Module, save_dir: str = "", *, complete: bool = False, **kwargs: Any
    ):
        """
        Args:
            model, save_dir, kwargs: see :class:`DetectionCheckpointer`.
            complete: every parameter must come from the file, as evaluation and prediction require;
                training may start from some of them, such as a backbone's.
        """
        super().__init__(model, save_dir, **kwargs)
        self._complete = complete
        self._path = ""
        self._least_share = 0.0

    def save(self, name: str, **kwargs: Any) -> None:
        """Save model, checkpointables and ``kwargs`` as ``<name>.pth``, whole or not at all.

        Raises:
            OSError: the disk is full or not writable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = Path(self.save_dir, f"{name}.pth")
        save_checkpoint(path, {"model": self.model.state_dict(), **states, **kwargs})
        self.logger.info("Saved checkpoint %s", path)
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the newest checkpoint to ``last_checkpoint``, whole or not at all."""
        with write_atomically(Path(self.save_dir, "last_checkpoint")) as temporary:
            temporary.write_text(last_filename_basename, encoding="utf-8")

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resume from the newest readable checkpoint in ``save_dir``; without any, load ``path``.

        A power failure may leave the newest one half-written: unreadable checkpoints are skipped
        with a warning, and the one before is used.

        Raises:
            InputError: ``last_checkpoint`` exists but no checkpoint is readable, or the newest
                belongs to another network.
        """
        if not (resume and self.has_checkpoint()):
            return self.load(path, checkpointables=[])
        for candidate in self._newest_first():
            try:
                read_checkpoint(candidate)
            except (InputError, FileNotFoundError) as error:
                self.logger.warning("Going on from the checkpoint before this one: %s", error)
            else:
                self._complete = True  # missing parameters would continue from random weights
                return self.load(str(candidate))
        raise InputError(
            f"{self.save_dir}: --resume finds no whole checkpoint; train without --resume"
        )

    def take_over(self, iteration: int) -> list[str]:
        """Remove from ``save_dir`` what must not be resumed: half-written checkpoints of a killed
        training, and, if this one starts anew, the note of which checkpoint was the last.

        Args:
            iteration: the next one to be trained; 0: a training starts anew.

        Returns:
            The checkpoints of earlier iterations, oldest first.
        """
        folder = Path(self.save_dir)
        for left, path in find_left_over(folder):
            if path.name == "last_checkpoint" or path.match("model_*.pth"):
                left.unlink(missing_ok=True)
        if iteration == 0 and self.has_checkpoint():
            # if this training is killed before its first checkpoint, --resume must not continue the
            # earlier one
            self.logger.warning(
                "%s: starts anew and replaces the earlier training there; --resume would have "
                "continued it", self.save_dir,
            )  # fmt: skip
            Path(self.save_dir, "last_checkpoint").unlink()
        following = f"model_{iteration:07d}.pth"
        return [str(path) for path in self._oldest_first() if path.name < following]

    def _oldest_first(self) -> list[Path]:
        # model_best.pth is left out: it has no optimizer state to resume from. The time comes
        # first, since an older training may have left higher numbers in the folder
        numbered = Path(self.save_dir).glob("model_[0-9]*.pth")
        return sorted(numbered, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def _newest_first(self) -> list[Path]:
        named = Path(self.get_checkpoint_file())
        return [named, *(path for path in reversed(self._oldest_first()) if path != named)]

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint; see :class:`DetectionCheckpointer`.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: the file is not a checkpoint, cannot be downloaded, or belongs to another
                network.
        """
        source, rest = find_source(path)
        self._path, self._least_share = path, source.least_share if source else 0.0
        if source is not None:
            self.logger.info("Loading weights from %s", path)
            content = source.read(rest, self.model)
            if "model" not in content:
                content = {"model": content}
            self._check_weights(content["model"])
            self._load_model(content)
            return {key: value for key, value in content.items() if key != "model"}
        if path:
            check_file(path)
        try:
            return super().load(path, *args, **kwargs)
        except URLError as error:
            raise InputError(
                f"MODEL.WEIGHTS {path}: cannot be downloaded ({error.reason}); {NO_WEIGHTS}"
            ) from error
        finally:
            # Detectron2 does not reset it after an error, and the next call would fail
            self._parsed_url_during_load = None

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = self._as_checkpoint(read_checkpoint(filename), filename)
        self._check_weights(loaded["model"])
        return loaded | {"model": rename_known(loaded["model"])}

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

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        self._check_fit(set(incompatible.missing_keys))
        return incompatible

    def _check_weights(self, weights: Any) -> None:
        """Raise InputError unless it is a dict from names to tensors or arrays."""
        expected = "expected a dict of tensors, as state_dict() gives them"
        where = f"MODEL.WEIGHTS {self._path}"
        if not isinstance(weights, dict) or not weights:
            raise InputError(f"{where}: its weights are a {type(weights).__name__}; {expected}")
        for name, value in weights.items():
            if not isinstance(name, str) or not isinstance(value, (torch.Tensor, np.ndarray)):
                raise InputError(f"{where}: {name!r} is a {type(value).__name__}; {expected}")

    def _check_fit(self, missing: set[str]) -> None:
        names = [name for name, _ in self.model.named_parameters()]
        lacking = [name for name in names if name in missing]
        needed = len(names)
        if not self._complete:
            needed = max(int(self._least_share * len(names)), min(1, len(names)))
        if len(names) - len(lacking) >= needed:
            return
        raise InputError(
            f"MODEL.WEIGHTS {self._path}: weights of another network; they fill "
            f"{len(names) - len(lacking)} of the {len(names)} parameters of the config's "
            f"{type(self.model).__name__}, not {lacking[0]}; give the config that they were "
            "trained with"
        )


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """``torch.save`` that writes the whole file or leaves it as it was.

    Raises:
        OSError: the disk is full or not writable.
    """
    try:
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # torch raises its own RuntimeError where the file system refuses
        refused = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(refused, "strerror", None) or str(refused).splitlines()[0]
        raise OSError(
            f"{path}: cannot be saved ({reason}); free some space or change OUTPUT_DIR, and go on "
            "with --resume"
        ) from error
