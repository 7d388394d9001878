"""Searches and cross-validation whose trainings are played; one of them is real."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.tuning import search as search_module
from nucdet.tuning import trials as trials_module
from nucdet.tuning.cross_validate import cross_validate
from nucdet.tuning.search import PLOTS, search
from nucdet.tuning.trials import TrialError

CONFIG = "configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"
RATES = "SOLVER.BASE_LR=1e-4,1e-3,1e-2"


class Played:
    """Stands for trials.train: writes what a training leaves, its score from ``score(cfg)``."""

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
    monkeypatch.setattr(trials_module, "train", training)
    monkeypatch.setattr(search_module, "PLOTS", {})  # they take longer than all else here
    return training


@pytest.fixture
def config(repository, registered):
    return str(repository / CONFIG)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "search"


def read(output, name="search.csv"):
    return pd.read_csv(output / name)


def raiser(error, rate):
    """A score that raises at one learning rate."""

    def score(cfg):
        if rate == cfg.SOLVER.BASE_LR:
            raise error
        return 10.0

    return score


def test_a_grid_gives_table_plots_and_best_config(played, config, output, capsys, monkeypatch):
    monkeypatch.setattr(search_module, "PLOTS", PLOTS)
    grids = [RATES, "INPUT.MIN_SIZE_TRAIN=(64,),(96,)"]
    overrides = ["SOLVER.MAX_ITER", "8"]
    assert search(config, str(output), overrides, grids=grids) == 0
    table = read(output)
    assert len(table) == 6
    assert list(table)[:8] == [
        "SEED", "SOLVER.BASE_LR", "INPUT.MIN_SIZE_TRAIN", "state", "kaggle/mAP", "iterations",
        "seconds", "error",
    ]  # fmt: skip
    assert table["SOLVER.BASE_LR"].tolist() == [1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2]
    assert table["kaggle/mAP"].tolist() == pytest.approx([49, 49, 50, 50, 49, 49])
    assert set(table["state"]) == {"done"} and set(table["iterations"]) == {8}
    for folder in table["folder"]:
        # what only resuming needs is gone
        assert {p.name for p in (output / folder).glob("*.pth")} == {"model_final.pth"}

    for name in ("search.png", "search_history.png"):
        with Image.open(output / name) as image:
            assert image.format == "PNG" and min(image.size) > 400
            assert len(np.unique(np.asarray(image.convert("L")))) > 10

    best = load_config(output / "best.yaml")
    assert (best.SOLVER.BASE_LR, best.SOLVER.MAX_ITER) == (1e-3, 8)
    best.OUTPUT_DIR = played.started[2].cfg.OUTPUT_DIR
    assert best == played.started[2].cfg
    assert "49.00" in capsys.readouterr().out


def test_what_is_done_is_not_trained_again(played, config, output):
    search(config, str(output), grids=[RATES])
    written = read(output)
    for name in ("search.csv", "best.yaml"):
        (output / name).unlink()
    search(config, str(output), grids=[RATES])
    assert len(played.started) == 3
    pd.testing.assert_frame_equal(read(output), written)
    assert (output / "best.yaml").is_file()

    # one value more is one training more; another config is another training
    search(config, str(output), grids=[RATES + ",1e-1"])
    assert played.rates[3:] == [1e-1] and len(read(output)) == 4
    search(config, str(output), ["SOLVER.MAX_ITER", "9"], grids=["SOLVER.BASE_LR=1e-4"])
    assert len(played.started) == 5


def test_a_killed_search_goes_on_with_the_training_it_was_in(played, config, output):
    played.score = raiser(KeyboardInterrupt, 1e-3)
    with pytest.raises(KeyboardInterrupt):
        search(config, str(output), grids=[RATES])
    assert played.rates == [1e-4, 1e-3]
    assert read(output)["state"].tolist() == ["done", "waiting", "waiting"]
    folder = played.started[1].folder
    state = json.loads((folder / "trial.json").read_text())
    assert state["state"] == "interrupted"
    (folder / "trial.json").write_text(json.dumps({**state, "seconds": 1000}))

    played.score = lambda cfg: 10.0
    assert search(config, str(output), grids=[RATES]) == 0
    # the interrupted one again, behind those that wait
    assert played.rates == [1e-4, 1e-3, 1e-2, 1e-3]
    assert played.started[3].folder == folder
    table = read(output)
    assert set(table["state"]) == {"done"}
    assert (table["seconds"] >= 1000).tolist() == [False, True, False]


def test_a_failing_training_is_recorded_and_the_others_go_on(played, config, output, capsys):
    played.score = raiser(TrialError("FloatingPointError: Loss became infinite"), 1e-4)
    assert search(config, str(output), grids=[RATES]) == 1
    table = read(output)
    assert table["state"].tolist() == ["failed", "done", "done"]
    assert table["error"].tolist()[0] == "FloatingPointError: Loss became infinite"
    assert table["kaggle/mAP"].isna().tolist() == [True, False, False]
    assert "1 of 3 trainings failed" in capsys.readouterr().err
    assert load_config(output / "best.yaml").SOLVER.BASE_LR == 1e-3

    assert search(config, str(output), grids=[RATES]) == 1
    assert len(played.started) == 3
    played.score = lambda cfg: 10.0
    assert search(config, str(output), grids=[RATES], retry_failed=True) == 0
    assert played.rates[3:] == [1e-4]


def test_seeds_give_mean_and_deviation(played, config, output, capsys):
    noise = {1: -2.0, 2: 0.0, 3: 2.0}
    level = {1e-3: 40.0, 1e-2: 39.0}
    played.score = lambda cfg: level[cfg.SOLVER.BASE_LR] + noise[cfg.SEED]
    search(config, str(output), grids=["SOLVER.BASE_LR=1e-3,1e-2"], seeds=[1, 2, 3])
    assert played.rates == [1e-3] * 3 + [1e-2] * 3
    assert read(output)["SEED"].tolist() == [1, 2, 3] * 2
    text = (output / "best.yaml").read_text()
    assert text.startswith("# kaggle/mAP 40.00 ± 2.00, the best of 2 settings\n")
    assert "39.00 ± 2.00" in capsys.readouterr().out


def test_a_setting_that_lacks_a_seed_is_not_the_best(played, config, output):
    played.score = lambda cfg: (
        raiser(TrialError("x"), 1e-3 if cfg.SEED == 2 else 0)(cfg)
        + (5 if cfg.SOLVER.BASE_LR == 1e-3 else 0)
    )
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-3,1e-2"], seeds=[1, 2]) == 1
    assert load_config(output / "best.yaml").SOLVER.BASE_LR == 1e-2


def test_random_draws_and_variants(played, config, output):
    draws = ["SOLVER.BASE_LR=loguniform(1e-6,1e-2)"]
    search(config, str(output), draws=draws, trials=4)
    assert len(set(played.rates)) == 4
    search(config, str(output), draws=draws, trials=6)
    assert len(set(played.rates)) == len(played.rates) == 6

    played.started.clear()
    played.score = lambda cfg: 30.0 if cfg.INPUT.RANDOM_FLIP == "none" else 20.0
    variants = ["as it is:", "no flips: INPUT.RANDOM_FLIP none INPUT.AUGMENTATION.CONTRAST 0.0"]
    search(config, str(output), variants=variants)
    assert read(output)["variant"].tolist() == ["as it is", "no flips"]
    assert [t.cfg.INPUT.AUGMENTATION.CONTRAST for t in played.started] == [0.2, 0.0]
    assert load_config(output / "best.yaml").INPUT.RANDOM_FLIP == "none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grids": ["SOLVER.MAX_ITER=5,6,many"]}, "many"),
        ({"grids": ["SOLVER.BASE_LT=1e-3"]}, "BASE_LT"),
        ({"grids": ["DATASETS.TRAIN=('synthetic_train',),('nowhere',)"]}, "'nowhere' is not reg"),
        ({"grids": [RATES, "DATASETS.TEST=()"]}, "data to train on and to score on"),
        ({"grids": ["OUTPUT_DIR=a,b"]}, "OUTPUT_DIR cannot be varied"),
        ({"grids": ["SEED=1,2"], "seeds": [1]}, "SEED cannot be varied"),
        ({}, "either --grid and --variant, or --random"),
        ({"grids": [RATES], "draws": ["SEED=uniform(1,9)"]}, "either --grid"),
        ({"grids": [RATES], "trials": 3}, "belongs to --random"),
        ({"draws": ["SEED=uniform(1,9)"]}, "--random needs it"),
        ({"draws": ["SEED=uniform(1,9)"], "trials": 0}, "expected 1 or more"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(played, config, output, options, message):
    with pytest.raises(InputError, match=message):
        search(config, str(output), **options)
    assert not played.started and not output.exists()


def test_a_wrong_metric_costs_one_training_and_loses_none(played, config, output):
    with pytest.raises(InputError, match=r"'kaggle/map' is not among.*kaggle/mAP, segm/AP"):
        search(config, str(output), grids=[RATES], metric="kaggle/map")
    assert search(config, str(output), grids=[RATES]) == 0
    assert len(played.started) == 3


def test_what_another_process_trains_is_left_to_it(played, config, output):
    """A second search that starts while the first trains takes another setting."""
    inner = []

    def score(cfg):
        if not inner:
            inner.append(None)
            inner.append(search(config, str(output), grids=[RATES]))
        return 10.0

    played.score = score
    assert search(config, str(output), grids=[RATES]) == 0
    assert inner == [None, 0] and played.rates == [1e-4, 1e-3, 1e-2]
    assert set(read(output)["state"]) == {"done"}


def test_a_training_that_a_killed_search_left_behind_is_waited_for(played, config, output):
    search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"])
    folder = played.started[0].folder
    (folder / "trial.json").unlink()
    with (folder / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another command trains in this folder"):
            search(config, str(output), grids=[RATES])
    assert search(config, str(output), grids=[RATES]) == 0
    assert sorted(played.rates) == [1e-4, 1e-4, 1e-3, 1e-2]


def test_tpe_begins_at_random_and_then_goes_its_own_way(played, config, output):
    draws = ["SOLVER.BASE_LR=loguniform(1e-8,1)"]
    assert search(config, str(output), draws=draws, trials=11, sampler="tpe") == 0
    search(config, str(output), draws=draws, trials=12, sampler="tpe")
    assert len(set(played.rates)) == len(played.rates) == 12
    tpe = played.rates
    played.started = []
    search(config, str(output.with_name("random")), draws=draws, trials=12)
    assert tpe[:10] == played.rates[:10] and not set(tpe[10:]) & set(played.rates[10:])


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo 'error: MODEL.WEIGHTS a: none' >&2; echo 'leaked objects' >&2; exit 2",
         "error: MODEL.WEIGHTS a: none"),
        ("echo 'Traceback'; echo 'a.FloatingPointError: nan'; exit 1", "a.FloatingPointError: nan"),
        ("echo half; echo of it; exit 3", "of it"),
        ("kill -9 $$", "ended by signal 9 (out of memory?)"),
    ],
)  # fmt: skip
def test_how_a_process_ends_is_told_in_one_line(
    config, output, tmp_path, monkeypatch, script, error
):
    monkeypatch.setattr(trials_module.sys, "executable", shell(tmp_path, script))
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"]) == 1
    assert read(output)["error"].tolist() == [error]


def test_an_interrupted_process_interrupts_the_search(config, output, tmp_path, monkeypatch):
    monkeypatch.setattr(trials_module.sys, "executable", shell(tmp_path, "exit 130"))
    with pytest.raises(KeyboardInterrupt):
        search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"])


def test_a_process_without_evaluation_failed(config, output, tmp_path, monkeypatch):
    monkeypatch.setattr(trials_module.sys, "executable", shell(tmp_path, "exit 0"))
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"]) == 1
    assert "without an evaluation" in read(output)["error"][0]


def shell(folder, script):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def parts_of_dsb2018(tmp_path, monkeypatch):
    """Files of three folds and of the kinds, which are asked for but not read here."""
    folder = tmp_path / "datasets/dsb2018/annotations"
    folder.mkdir(parents=True)
    names = [f"fold{k}_{part}" for k in range(3) for part in ("train", "val")]
    for kind in ("fluorescence", "bright_field", "stained_light", "stained_tinted"):
        names += [f"only_{kind}", f"without_{kind}"]
    for name in names:
        (folder / f"instances_{name}.json").touch()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return folder


def test_folds_give_mean_and_deviation_of_every_metric(
    played, config, output, parts_of_dsb2018, capsys
):
    played.score = lambda cfg: 40.0 + int(cfg.DATASETS.TEST[0].split("_")[1][-1])
    assert cross_validate(config, str(output), folds=3, only=["2"]) == 0
    assert [t.cfg.DATASETS.TEST for t in played.started] == [("dsb2018_fold2_val",)]
    assert cross_validate(config, str(output), folds=3) == 0
    assert [t.cfg.DATASETS.TRAIN for t in played.started] == [
        ("dsb2018_fold2_train",), ("dsb2018_fold0_train",), ("dsb2018_fold1_train",),
    ]  # fmt: skip
    assert read(output, "cross_validation.csv")["kaggle/mAP"].tolist() == [40, 41, 42]
    summary = read(output, "summary.csv").set_index("metric")
    assert summary.loc["kaggle/mAP"].tolist() == [41, 1, 3]
    # a metric that no fold has a value of
    assert summary.loc["segm/AP", "trainings"] == 0
    assert "41.00 ± 1.00" in capsys.readouterr().out


def test_each_kind_is_scored_by_a_training_without_it(played, config, output, parts_of_dsb2018):
    played.score = raiser(TrialError("x"), 0)
    assert cross_validate(config, str(output), leave_out_kind=True, only=["bright_field"]) == 0
    (trial,) = played.started
    assert trial.cfg.DATASETS.TRAIN == ("dsb2018_without_bright_field",)
    assert trial.cfg.DATASETS.TEST == ("dsb2018_only_bright_field",)
    table = read(output, "cross_validation.csv").set_index("kind")
    assert table.loc["bright_field", "state"] == "done"
    assert (table["state"] == "waiting").sum() == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": 2}, InputError, "converted into more folds"),
        ({"folds": 4}, FileNotFoundError, r"fold3_train\.json.*--folds"),
        ({"folds": 11}, InputError, "expected 2 to 10"),
        ({"folds": 3, "only": ["3"]}, InputError, "--only 3: expected some of 0,1,2"),
        ({"leave_out_kind": True, "only": ["a"]}, InputError, "--only a: expected some of fluor"),
    ],
)
def test_mistakes_about_folds(played, config, output, parts_of_dsb2018, options, error, message):
    with pytest.raises(error, match=message):
        cross_validate(config, str(output), **options)
    assert not played.started and not output.exists()


def test_a_real_training_in_a_process_of_its_own(config, output, tiny_overrides, monkeypatch):
    monkeypatch.chdir(Path(config).parents[2])
    overrides = [*tiny_overrides, "SOLVER.MAX_ITER", "2"]
    assert search(config, str(output), overrides, grids=["SOLVER.BASE_LR=1e-4"]) == 0
    (row,) = read(output).to_dict("records")
    assert (row["state"], row["iterations"], row["SEED"]) == ("done", 2, 1)
    evaluation = pd.read_csv(output / row["folder"] / "evaluation.csv")
    assert row["kaggle/mAP"] == evaluation["kaggle/mAP"].iloc[-1]
    assert row["seconds"] > 0
    assert (
        "Starting training from iteration 0" in (output / row["folder"] / "train.log").read_text()
    )
