"""Scores of predictions: the Kaggle precision, COCO's AP, submissions, and files of other tools."""

from nucdet.evaluation.build import EVALUATORS, build_evaluator
from nucdet.evaluation.coco import DenseCOCOEvaluator
from nucdet.evaluation.foreground import ForegroundEvaluator
from nucdet.evaluation.kaggle import KaggleEvaluator
from nucdet.evaluation.livecell import LIVECellEvaluator
from nucdet.evaluation.matching import Intersections, Matching, match
from nucdet.evaluation.offline import evaluate_predictions, score_files
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
    "match",
    "score_files",
]
