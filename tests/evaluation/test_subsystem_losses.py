"""Losses of the parts of a network: means over what was counted."""

from __future__ import annotations

import pytest

from nucdet.errors import InputError
from nucdet.evaluation.subsystem_losses import SubsystemLossEvaluator


def evaluated(*measures: dict) -> dict[str, float]:
    evaluator = SubsystemLossEvaluator()
    evaluator.reset()
    for i, one in enumerate(measures):
        evaluator.process([{"image_id": i}], [{"subsystems": one}])
    return evaluator.evaluate()["subsystems"]


def test_means_are_over_what_was_counted():
    results = evaluated(
        {"mask": (20.0, 10), "rpn_box": (0.0, 0), "recall_50": (3.0, 4)},
        {"mask": (10.0, 20), "rpn_box": (0.5, 1), "recall_50": (0.0, 2)},
    )
    assert results == {"mask": 1.0, "rpn_box": 0.5, "recall_50": 50.0}  # shares in percent


def test_what_was_never_counted_is_left_out():
    assert evaluated({"rpn_box": (0.0, 0), "mask": (1.0, 4)}) == {"mask": 0.25}


def test_nothing_processed():
    evaluator = SubsystemLossEvaluator()
    evaluator.reset()
    assert evaluator.evaluate() == {}


def test_another_model_is_one_line():
    evaluator = SubsystemLossEvaluator()
    with pytest.raises(InputError, match="'subsystems', but the model has no parts to measure"):
        evaluator.process([{"image_id": 1}], [{"instances": None}])
