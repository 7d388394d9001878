"""A second device, imitated: code for GPUs is tested on machines that have none.

Tensors of the imitated device hold their values in a tensor on the CPU, which computes. As on a
GPU, an operation whose operands lie on two devices fails, and so does ``numpy()``. Its name is
"meta", since PyTorch then runs the backward pass in the calling thread and needs no driver. What
it cannot show is autocast, which PyTorch does not offer for "meta", and more than one device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

NAME = "meta"
# operations that accept tensors of two devices, in all or in some of their operands
_COPIES = {"aten::copy_"}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class Elsewhere(torch.Tensor):
    """A tensor of the imitated device.

    Attributes:
        values: the same tensor on the CPU.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=torch.device(NAME),
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def __repr__(self) -> str:
        return f"Elsewhere({self.values!r})"

    # PyTorch would build the tensor of a list of indices on "meta" itself, where it has no values
    def __getitem__(self, key: Any) -> torch.Tensor:
        return super().__getitem__(_without_lists(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_without_lists(key), value)


class _Imitation(TorchDispatchMode):
    """Makes tensors of the imitated device where PyTorch would make some on "meta"."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _without_lists(key: Any) -> Any:
    keys = key if isinstance(key, tuple) else (key,)
    keys = tuple(torch.tensor(k) if isinstance(k, list) else k for k in keys)
    return keys if isinstance(key, tuple) else keys[0]


def _run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = function._schema.name
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    elsewhere = any(isinstance(t, Elsewhere) for t in tensors)
    if elsewhere and name not in _COPIES:
        operands = [t for t in (args[0], *args[2:]) if isinstance(t, torch.Tensor)]
        _check_devices(function, operands if name in _INDEXING else tensors)
    result = function(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
    if function._schema.is_mutable:
        return _in_place(function, args, kwargs, result)
    if kwargs.get("device") is not None:
        elsewhere = torch.device(kwargs["device"]).type == NAME
    if not elsewhere:
        return result
    result = tree_map(lambda r: Elsewhere(r) if isinstance(r, torch.Tensor) else r, result)
    returns = function._schema.returns
    if returns and all(r.alias_info is not None for r in returns):  # a view
        return return_and_correct_aliasing(function, args, kwargs, result)
    return result


def _check_devices(function: Any, operands: list[torch.Tensor]) -> None:
    wrong = [tuple(t.shape) for t in operands if t.dim() and not isinstance(t, Elsewhere)]
    if wrong:
        raise RuntimeError(f"{function} expects tensors on one device, on the CPU are {wrong}")


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.values if isinstance(value, Elsewhere) else value


def _in_place(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
    """What an operation that writes to its arguments returns: those, not their values."""
    if torch.Tag.inplace_view in function.tags and isinstance(args[0], Elsewhere):
        with no_dispatch():  # the shape of the values has changed; change it here, too
            return function(*args, **kwargs)
    given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Elsewhere)]
    by_values = {id(t.values): t for t in given}
    return tree_map(lambda r: by_values.get(id(r), r), result)


def _made_on_cpu(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def moved(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        made = make(data, *args, **kwargs)
        return made if device is None else made.to(device)

    return moved


def _new_tensor(
    like: torch.Tensor, data: Any, dtype: torch.dtype | None = None, device: Any = None
) -> torch.Tensor:
    return torch.tensor(data, dtype=dtype or like.dtype).to(device or like.device)


@pytest.fixture
def other_device(monkeypatch) -> Iterator[str]:
    """The name of the imitated device, which exists during the test."""
    autocast, save = torch.autocast, torch.save

    def autocast_on(device: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device == NAME else autocast(device, *args, **kwargs)

    def save_values(content: Any, *args: Any, **kwargs: Any) -> None:
        with no_dispatch():
            save(tree_map(_on_cpu, content), *args, **kwargs)

    monkeypatch.setattr(torch, "autocast", autocast_on)
    monkeypatch.setattr(torch, "save", save_values)
    monkeypatch.setattr(torch, "as_tensor", _made_on_cpu(torch.as_tensor))
    monkeypatch.setattr(torch, "tensor", _made_on_cpu(torch.tensor))
    monkeypatch.setattr(torch.Tensor, "new_tensor", _new_tensor)
    # a module's parameters become tensors of another type
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    with _Imitation():
        yield NAME
    torch.__future__.set_swap_module_params_on_conversion(before)
