"""The arguments of training runs of seconds."""

from __future__ import annotations

import argparse

import pytest

from nucdet.commands.train import argument_parser
from nucdet.train.trainer import NucleusTrainer

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def arguments(repository, registered, tiny_overrides):
    """Parsed arguments of a tiny run; more flags and KEY VALUE pairs may be given."""

    def parse(*extra: str) -> argparse.Namespace:
        flags = [text for text in extra if text.startswith("--")]
        pairs = [text for text in extra if not text.startswith("--")]
        return argument_parser().parse_args(
            ["--config-file", str(repository / CONFIG), *flags, *tiny_overrides, *pairs]
        )

    return parse


@pytest.fixture
def score_as(monkeypatch):
    """Called with numbers: these are the Kaggle scores of the next evaluations."""

    def replace(*scores: float) -> None:
        left = iter(scores)
        monkeypatch.setattr(
            NucleusTrainer, "test", classmethod(lambda *a: {"kaggle": {"mAP": next(left)}})
        )

    return replace
