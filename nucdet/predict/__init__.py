"""Predict the nuclei of images with a trained network.

The names below are imported on first use, because the command lines need this package's output
formats before they need PyTorch.
"""

from importlib import import_module

_MODULES = {
    "Prediction": "nucdet.predict.prediction",
    "Segmenter": "nucdet.predict.segmenter",
    "configure": "nucdet.predict.segmenter",
    "default_model": "nucdet.predict.segmenter",
}

__all__ = ["Prediction", "Segmenter", "configure", "default_model"]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
