"""Averages weights over a training: during it (SOLVER.EMA_DECAY), or over its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nucdet.errors import InputError
from nucdet.modeling.checkpoint_files import read_checkpoint


class WeightAveraging(HookBase):
    """Exponential moving average of all parameters and buffers (Polyak averaging).

    After step i = 0, 1, …: average ← d · average + (1 - d) · weights, with
    d = min(decay, (1 + i) / (10 + i)), so that the initial random weights are soon forgotten.

    During a training step the model holds the trained weights, at all other times the averages.
    So the averages are evaluated and saved, while the trained weights are saved as the state of
    this hook. The two are swapped by pointer, without copying.

    This hook must come before all hooks that evaluate or save.
    """

    def __init__(self, model: nn.Module, decay: float):
        """
        Args:
            model: the bare model, not wrapped for data parallel training.
            decay: upper limit of d, for example 0.999.

        Raises:
            InputError: ``decay`` is outside [0, 1).
        """
        if not 0 <= decay < 1:
            raise InputError(f"SOLVER.EMA_DECAY is {decay}, expected 0 (off) or below 1")
        self.model, self.decay = model, decay
        self._updates = 0
        # the weights that the model does not hold at the moment: during a step the averages, else
        # the trained weights
        self._others: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self._updates, "weights": dict(self._others)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._updates = state["updates"]
        self._others = {name: state["weights"][name].to(t) for name, t in self._named_tensors()}

    def before_train(self) -> None:
        if not self._others:  # not loaded from a checkpoint
            self._others = {name: t.detach().clone() for name, t in self._named_tensors()}

    def before_step(self) -> None:
        self._swap()

    @torch.no_grad()
    def after_step(self) -> None:
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        update = get_ema_multi_avg_fn(decay)
        averages, weights = [], []
        for name, tensor in self._named_tensors():
            if tensor.is_floating_point():
                averages.append(self._others[name])
                weights.append(tensor.detach())
            else:  # batch norm's counter
                self._others[name].copy_(tensor)
        update(averages, weights, self._updates)
        self._updates += 1
        self._swap()

    def _swap(self) -> None:
        for name, tensor in self._named_tensors():
            tensor.data, self._others[name] = self._others[name], tensor.data

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()
        yield from self.model.named_buffers()


def average_checkpoints(paths: Sequence[Path], target: Path) -> None:
    """Write the mean of the weights of several checkpoints of one training.

    The mean generalises better than each of them if they lie far apart on one path (Izmailov et
    al., UAI 2018, arXiv:1803.05407). The statistics of batch normalization are averaged, too. Other
    tensors than floating-point ones, and the iteration, are those of the first checkpoint.

    Args:
        paths: at least one checkpoint saved by a training.
        target: the file to write, without the state of the optimizer.

    Raises:
        FileNotFoundError, InputError: a checkpoint is missing, broken, or of another network.
    """
    first = _read_training(paths[0])
    mean = {name: tensor.clone() for name, tensor in first["model"].items()}
    for count, path in enumerate(paths[1:], 2):
        weights = _read_training(path)["model"]
        shapes = [{name: t.shape for name, t in part.items()} for part in (weights, mean)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{path}: its weights are not those of the network of {paths[0]}; only checkpoints "
                "of one training can be averaged"
            )
        for name, tensor in mean.items():
            if tensor.is_floating_point():
                tensor += (weights[name].to(tensor) - tensor) / count
    rest = {name: value for name, value in first.items() if name == "iteration"}
    torch.save({"model": mean, **rest}, target)


def _read_training(path: Path) -> dict[str, Any]:
    content = read_checkpoint(path)
    weights = content.get("model")
    if not isinstance(weights, dict) or not all(isinstance(t, Tensor) for t in weights.values()):
        raise InputError(
            f'{path}: holds no tensors under "model"; expected a checkpoint that a training saved'
        )
    return content
