"""From images to nuclei with a trained network."""

from nucdet.predict.prediction import Prediction
from nucdet.predict.segmenter import Segmenter, configure, default_model

__all__ = ["Prediction", "Segmenter", "configure", "default_model"]
