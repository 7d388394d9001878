"""nucdet: finds every cell nucleus in a microscopy image and gives each its own mask.

Importing it registers nucdet's architectures with Detectron2, and imports the user's own modules
that the environment variable NUCDET_EXTENSIONS names, with commas between them. Data sets are
registered by :func:`nucdet.data.datasets.register_datasets`.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from wrapt import register_post_import_hook

from nucdet import compiler_on_demand
from nucdet.version import __version__


def _refuse(error: ImportError) -> NoReturn:
    """Raise the error; one of nucdet's commands ends with its one line instead, and code 2."""
    if Path(sys.argv[0]).name.startswith("nucdet-"):
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    raise error


if importlib.util.find_spec("detectron2") is None:
    _refuse(
        ModuleNotFoundError(
            "nucdet needs Detectron2, which is not installed in this Python. In nucdet's folder, "
            f"`make detectron2 VENV={sys.prefix}` adds it to this environment, and `make .venv` "
            "builds one that has all; or build it from source as Detectron2's INSTALL.md tells.",
            name="detectron2",
        )
    )

try:
    import cv2  # noqa: F401
except ImportError as error:
    _refuse(
        ImportError(
            f"OpenCV does not load ({error}). On a machine without a display: "
            "pip uninstall opencv-python; pip install opencv-python-headless"
        )
    )

# theirs to mend, not the user's, who would see it at every start: Detectron2's, and that of the hub
# that timm imports, which looks for widgets in every notebook
warnings.filterwarnings("ignore", r"`torch\.jit\.script", FutureWarning)
warnings.filterwarnings("ignore", r"torch\.meshgrid: in an upcoming release", UserWarning)
warnings.filterwarnings("ignore", "IProgress not found")

compiler_on_demand.install()

# Architectures enter Detectron2's registries as soon as those exist: at once if detectron2.modeling
# is loaded, else when it is. It takes five seconds, and converting data needs no network.
register_post_import_hook(
    lambda _: importlib.import_module("nucdet.modeling"), "detectron2.modeling"
)

__all__ = ["Segmenter", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Segmenter":  # when it is asked for: what only trains needs no predictor
        from nucdet.predict import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Networks, losses, scores, formats … that they register are known to every command then, and to the
# processes that it starts.
for _extension in filter(None, os.environ.get("NUCDET_EXTENSIONS", "").replace(" ", "").split(",")):
    try:
        importlib.import_module(_extension)
    except ImportError as error:
        _refuse(
            ImportError(
                f"NUCDET_EXTENSIONS names {_extension}, which cannot be imported ({error}); "
                "PYTHONPATH must hold its folder"
            )
        )
