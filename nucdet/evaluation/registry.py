"""The names of TEST.EVALUATORS: each evaluator registers its own in its file.

A name and a function that builds the evaluator::

    @evaluator("foreground")
    def build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
        return ForegroundEvaluator(dataset_name)

Every module of nucdet.evaluation is imported by nucdet/evaluation/build.py, so a file there is all
that a new score needs.
"""

from __future__ import annotations

from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

# from the config, the name of the data set and the output folder
Builder = Callable[[CfgNode, str, str], DatasetEvaluator]

EVALUATORS: dict[str, Builder] = {}


def evaluator(name: str) -> Callable[[Builder], Builder]:
    """Decorator: the function builds the evaluator that TEST.EVALUATORS calls by this name.

    Raises:
        ValueError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        if name in EVALUATORS:
            raise ValueError(f"there is an evaluator {name!r} already")
        EVALUATORS[name] = build
        return build

    return register
