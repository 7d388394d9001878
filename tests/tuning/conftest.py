"""A search whose trainings are played, and what it leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nucdet.tuning import search as search_module
from nucdet.tuning import trial_runs

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


class Played:
    """Stands for trial_runs.train: writes what a training leaves, its score from ``score(cfg)``."""

    def __init__(self):
        self.started = []
        self.score = lambda cfg: 50 - abs(np.log10(cfg.SOLVER.BASE_LR) + 3)

    def __call__(self, trial, config_file, lock):
        self.started.append(trial)
        (trial.folder / "model_0000001.pth").touch()
        score = self.score(trial.cfg)
        (trial.folder / "model_final.pth").touch()
        table = {"iteration": [3, 7], "kaggle/mAP": [99.0, score], "segm/AP": [1.0, np.nan]}
        pd.DataFrame(table).to_csv(trial.folder / "evaluation.csv", index=False)
        pd.DataFrame({"iteration": range(8)}).to_csv(trial.folder / "losses.csv", index=False)

    @property
    def rates(self):
        return [trial.cfg.SOLVER.BASE_LR for trial in self.started]


@pytest.fixture
def played(monkeypatch):
    training = Played()
    monkeypatch.setattr(trial_runs, "train", training)
    monkeypatch.setattr(search_module, "PLOTS", {})  # they take longer than all else here
    return training


@pytest.fixture
def config(repository, registered):
    return str(repository / CONFIG)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "search"


@pytest.fixture
def read(output):
    """A function that reads a table of the output folder."""
    return lambda name="search.csv": pd.read_csv(output / name)


@pytest.fixture
def raiser():
    """A function that makes a score which raises an error at one learning rate."""

    def make(error, rate):
        def score(cfg):
            if rate == cfg.SOLVER.BASE_LR:
                raise error
            return 10.0

        return score

    return make
