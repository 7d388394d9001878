"""The names in TEST.EVALUATORS: each evaluator registers its name in its own file.

It consists of a name and a function that builds the evaluator::

    @evaluator("foreground")
    def build(cfg: CfgNode, dataset_name: str, output_folder: str) -> DatasetEvaluator:
        return ForegroundEvaluator(dataset_name)

nucdet/evaluation/build.py imports every module of nucdet.evaluation, so a new score needs only a
file there.
"""

from __future__ import annotations

from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

# (config, name of the data set, output folder) -> evaluator
Builder = Callable[[CfgNode, str, str], DatasetEvaluator]

EVALUATORS: dict[str, Builder] = {}


def evaluator(name: str) -> Callable[[Builder], Builder]:
    """Decorator: registers the function that builds the evaluator of this name.

    Raises:
        ValueError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        if name in EVALUATORS:
            raise ValueError(f"there is an evaluator {name!r} already")
        EVALUATORS[name] = build
        return build

    return register
