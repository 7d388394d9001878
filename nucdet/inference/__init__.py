"""From pictures to nuclei with a trained network."""

from nucdet.inference.prediction import Prediction
from nucdet.inference.predictor import Segmenter, configure, default_model

__all__ = ["Prediction", "Segmenter", "configure", "default_model"]
