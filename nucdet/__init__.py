"""nucdet: finds every cell nucleus in a microscopy image and gives each its own mask.

Importing it registers nucdet's architectures with Detectron2. Data sets are registered by
:func:`nucdet.data.datasets.register_datasets`.
"""

from nucdet.version import __version__

try:
    import detectron2  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "detectron2":
        raise
    raise ModuleNotFoundError(
        "nucdet needs Detectron2, which is not installed in this Python. In nucdet's folder, "
        "`make .venv` builds an environment that has it; to add it to an environment of your own, "
        "`make detectron2 VENV=<its folder>`, or build it from source as Detectron2's INSTALL.md "
        "tells.",
        name="detectron2",
    ) from None

try:
    import cv2  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"OpenCV does not load ({error}). On a machine without a display: "
        "pip uninstall opencv-python; pip install opencv-python-headless"
    ) from error

from nucdet import modeling  # noqa: F401  (fills Detectron2's registries)

__all__ = ["__version__"]
