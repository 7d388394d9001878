"""The data sets that nucdet-convert knows: one module for each, which is a subcommand of its name.

A module has ``add_arguments(parser)`` and ``convert(args)``; its docstring is its help text.
``convert`` imports the converter itself, so that ``--help`` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def converters() -> dict[str, ModuleType]:
    """The modules of this package by name; those that begin with an underscore are no converter."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {
        name: importlib.import_module(f"{__name__}.{name}")
        for name in names
        if not name.startswith("_")
    }
