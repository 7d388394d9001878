"""Load torchvision, timm and Detectron2 without torch's compiler, which nucdet does not use.

Importing ``torch._dynamo`` takes 1.5 s of CPU time, a third of the time until a prediction starts.
torchvision's RoIAlign imports it to ask whether a device supports compiling, timm to exclude parts
of one network from compilation, and Detectron2 in its first convolution to ask whether it is being
compiled. Here each of them gets an equivalent that loads the compiler only when it is needed, so
that code which does compile works as before.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from wrapt import register_post_import_hook

_ROI_ALIGN = "torchvision.ops.roi_align"
_COMPILER = "torch._dynamo.utils"


def install() -> None:
    """Prepare the three imports; modules that are already loaded are not changed."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    register_post_import_hook(_disable_when_called, "timm.layers.typing")
    register_post_import_hook(_ask_torch, "detectron2.layers.wrappers")


class _Finder:
    """Finds torchvision's RoIAlign as Python would, but has :class:`_Loader` load it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != _ROI_ALIGN or _COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Runs the file with a stand-in for the compiler's module, which has the one function used."""

    def exec_module(self, module: ModuleType) -> None:
        stand_in = ModuleType(_COMPILER)
        stand_in.is_compile_supported = _is_compile_supported
        sys.modules[_COMPILER] = stand_in
        try:
            super().exec_module(module)
        finally:
            if sys.modules.get(_COMPILER) is stand_in:
                del sys.modules[_COMPILER]


def _is_compile_supported(device_type: object) -> bool:
    """Call the compiler's function of the same name, which is imported only now."""
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device_type)


def _disable_when_called(typing: ModuleType) -> None:
    """Give timm the decorator with which torch excludes its own functions from compilation."""
    import torch

    if hasattr(torch, "_disable_dynamo") and hasattr(typing, "disable_compiler"):
        typing.disable_compiler = torch._disable_dynamo


def _ask_torch(wrappers: ModuleType) -> None:
    """Let Detectron2's convolution ask torch itself whether it is being compiled."""
    import torch

    if hasattr(torch.compiler, "is_compiling") and hasattr(wrappers, "check_if_dynamo_compiling"):
        wrappers.check_if_dynamo_compiling = torch.compiler.is_compiling
