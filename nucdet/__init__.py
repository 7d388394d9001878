"""nucdet: finds every cell nucleus in a microscopy image and gives each its own mask.

Importing the package registers nucdet's architectures with Detectron2 and imports the user modules
listed, separated by commas, in the environment variable NUCDET_EXTENSIONS. Data sets are registered
by :func:`nucdet.data.datasets.register_datasets`.
"""

import importlib
import importlib.util
import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from wrapt import register_post_import_hook

from nucdet import compiler_on_demand
from nucdet.version import __version__


def _refuse(error: ImportError) -> NoReturn:
    """Raise the error; a nucdet command instead prints it in one line and exits with code 2."""
    if Path(sys.argv[0]).name.startswith("nucdet-"):
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    raise error


if importlib.util.find_spec("detectron2") is None:
    _refuse(
        ModuleNotFoundError(
            "nucdet needs Detectron2, which is not installed in this Python. In nucdet's folder, "
            f"`{shlex.quote(sys.executable)} install_detectron2.py` adds it to this environment, "
            "and `make .venv` builds one that has all; or build it from source as Detectron2's "
            "INSTALL.md tells.",
            name="detectron2",
        )
    )

try:
    import cv2  # noqa: F401
except ImportError as error:
    _refuse(
        ImportError(
            f"OpenCV does not load ({error}). On a machine without a display: "
            "pip uninstall opencv-python opencv-python-headless; "
            "pip install opencv-python-headless"
        )
    )

# These warnings would appear at every start, and the user can do nothing about them. They come from
# Detectron2 and from the Hugging Face Hub, which timm imports and which looks for notebook widgets.
warnings.filterwarnings("ignore", r"`torch\.jit\.script", FutureWarning)
warnings.filterwarnings("ignore", r"torch\.meshgrid: in an upcoming release", UserWarning)
warnings.filterwarnings("ignore", "IProgress not found")
# Detectron2 asks, at the first image of a Mask R-CNN, whether its model is being traced
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)

compiler_on_demand.install()

# Architectures are registered when detectron2.modeling is imported (at once if it already is).
# nucdet does not import it here: that takes five seconds, and converting data needs no network.
register_post_import_hook(
    lambda _: importlib.import_module("nucdet.modeling"), "detectron2.modeling"
)

__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Segmenter":  # imported on first access, because training needs no predictor
        from nucdet.predict import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Imported here, so that the networks, losses, evaluators … that extensions register are known to
# every command and to the processes that it starts.
for _extension in filter(None, os.environ.get("NUCDET_EXTENSIONS", "").replace(" ", "").split(",")):
    try:
        importlib.import_module(_extension)
    except ImportError as error:
        _remedy = "correct it, or install what it imports"
        if error.name and f"{_extension}.".startswith(f"{error.name}."):  # not found itself
            _remedy = "PYTHONPATH must hold its folder"
        _refuse(
            ImportError(
                f"NUCDET_EXTENSIONS names {_extension}, which cannot be imported ({error}); "
                f"{_remedy}"
            )
        )
