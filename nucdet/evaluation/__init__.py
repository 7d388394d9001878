"""Scores of predictions: the Kaggle precision, COCO's AP, submissions, and files of other tools.

Importing this package imports every module in it, so that the evaluators which they register
(:mod:`nucdet.evaluation.registry`) are known by their names.
"""

import importlib
import pkgutil

from nucdet.evaluation.build import build_evaluator
from nucdet.evaluation.coco import DenseCOCOEvaluator
from nucdet.evaluation.foreground import ForegroundEvaluator
from nucdet.evaluation.kaggle import KaggleEvaluator
from nucdet.evaluation.livecell import LIVECellEvaluator
from nucdet.evaluation.matching import Intersections, Matching, match
from nucdet.evaluation.offline import evaluate_predictions, score_files
from nucdet.evaluation.registry import EVALUATORS, evaluator
from nucdet.evaluation.submission import SubmissionWriter

__all__ = [
    "EVALUATORS",
    "DenseCOCOEvaluator",
    "ForegroundEvaluator",
    "Intersections",
    "KaggleEvaluator",
    "LIVECellEvaluator",
    "Matching",
    "SubmissionWriter",
    "build_evaluator",
    "evaluate_predictions",
    "evaluator",
    "match",
    "score_files",
]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
