"""The subcommands of nucdet-convert: one module for each kind of data set, with the same name.

A module has ``add_arguments(parser)`` and ``convert(args)``; its docstring is its help text.
``convert`` imports the actual converter, so that ``--help`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def converters() -> dict[str, ModuleType]:
    """The modules of this package by name, except those that start with an underscore."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {
        name: importlib.import_module(f"{__name__}.{name}")
        for name in names
        if not name.startswith("_")
    }
