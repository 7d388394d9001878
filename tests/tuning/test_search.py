"""Searches whose trainings are played; one of them is real."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.tuning import search as search_module
from nucdet.tuning import trial_runs
from nucdet.tuning.search import PLOTS
from nucdet.tuning.search_space import SearchSpace
from nucdet.tuning.trial_runs import TrialError

RATES = "SOLVER.BASE_LR=1e-4,1e-3,1e-2"


def search(config, output_dir, overrides=(), *, seeds=(), metric=None, retry_failed=False, **space):
    """The search over what the other options vary."""
    return search_module.search(
        config,
        output_dir,
        overrides,
        space=SearchSpace(**space),
        seeds=seeds,
        metric=metric,
        retry_failed=retry_failed,
    )


def test_a_finished_training_whose_data_has_changed_is_named(
    played, config, output, capsys, registered, tmp_path, monkeypatch
):
    data = shutil.copytree(registered, tmp_path / "datasets")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(data))
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-3"]) == 0
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-3"]) == 0
    assert "note:" not in capsys.readouterr().out
    with (data / "synthetic/annotations/instances_val.json").open("a") as file:
        file.write("\n")
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-3"]) == 0
    assert "note: BASE_LR=0.001: its data was converted again" in capsys.readouterr().out
    assert len(played.started) == 1


def test_a_grid_gives_table_plots_and_best_config(
    played, config, output, capsys, monkeypatch, read, recwarn
):
    monkeypatch.setattr(search_module, "PLOTS", PLOTS)
    grids = [RATES, "INPUT.MIN_SIZE_TRAIN=(64,),(96,)"]
    overrides = ["SOLVER.MAX_ITER", "8"]
    assert search(config, str(output), overrides, grids=grids) == 0
    table = read()
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

    assert not [w for w in recwarn if "identical" in str(w.message)]
    for name in ("search.png", "search_history.png"):
        with Image.open(output / name) as image:
            assert image.format == "PNG" and min(image.size) > 400
            assert len(np.unique(np.asarray(image.convert("L")))) > 10

    best = load_config(output / "best.yaml")
    assert (best.SOLVER.BASE_LR, best.SOLVER.MAX_ITER) == (1e-3, 8)
    best.OUTPUT_DIR = played.started[2].cfg.OUTPUT_DIR
    assert best == played.started[2].cfg
    assert "49.00" in capsys.readouterr().out


def test_what_is_done_is_not_trained_again(played, config, output, read):
    search(config, str(output), grids=[RATES])
    written = read()
    for name in ("search.csv", "best.yaml"):
        (output / name).unlink()
    search(config, str(output), grids=[RATES])
    assert len(played.started) == 3
    pd.testing.assert_frame_equal(read(), written)
    assert (output / "best.yaml").is_file()

    # one value more is one training more; another config is another training
    search(config, str(output), grids=[RATES + ",1e-1"])
    assert played.rates[3:] == [1e-1] and len(read()) == 4
    search(config, str(output), ["SOLVER.MAX_ITER", "9"], grids=["SOLVER.BASE_LR=1e-4"])
    assert len(played.started) == 5


def test_a_killed_search_goes_on_with_the_training_it_was_in(played, config, output, read, raiser):
    played.score = raiser(KeyboardInterrupt, 1e-3)
    with pytest.raises(KeyboardInterrupt):
        search(config, str(output), grids=[RATES])
    assert played.rates == [1e-4, 1e-3]
    assert read()["state"].tolist() == ["done", "waiting", "waiting"]
    folder = played.started[1].folder
    state = json.loads((folder / "trial.json").read_text())
    assert state["state"] == "interrupted"
    (folder / "trial.json").write_text(json.dumps({**state, "seconds": 1000}))

    played.score = lambda cfg: 10.0
    assert search(config, str(output), grids=[RATES]) == 0
    # the interrupted one again, behind those that wait
    assert played.rates == [1e-4, 1e-3, 1e-2, 1e-3]
    assert played.started[3].folder == folder
    table = read()
    assert set(table["state"]) == {"done"}
    assert (table["seconds"] >= 1000).tolist() == [False, True, False]


def test_a_failing_training_is_recorded_and_the_others_go_on(
    played, config, output, capsys, read, raiser
):
    played.score = raiser(TrialError("FloatingPointError: Loss became infinite"), 1e-4)
    assert search(config, str(output), grids=[RATES]) == 1
    table = read()
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


def test_seeds_give_mean_and_deviation(played, config, output, capsys, read):
    noise = {1: -2.0, 2: 0.0, 3: 2.0}
    level = {1e-3: 40.0, 1e-2: 39.0}
    played.score = lambda cfg: level[cfg.SOLVER.BASE_LR] + noise[cfg.SEED]
    search(config, str(output), grids=["SOLVER.BASE_LR=1e-3,1e-2"], seeds=[1, 2, 3])
    assert played.rates == [1e-3] * 3 + [1e-2] * 3
    assert read()["SEED"].tolist() == [1, 2, 3] * 2
    text = (output / "best.yaml").read_text()
    assert text.startswith("# kaggle/mAP 40.00 ± 2.00, the best of 2 settings\n")
    assert "39.00 ± 2.00" in capsys.readouterr().out


def test_a_setting_that_lacks_a_seed_is_not_the_best(played, config, output, raiser):
    played.score = lambda cfg: (
        raiser(TrialError("x"), 1e-3 if cfg.SEED == 2 else 0)(cfg)
        + (5 if cfg.SOLVER.BASE_LR == 1e-3 else 0)
    )
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-3,1e-2"], seeds=[1, 2]) == 1
    assert load_config(output / "best.yaml").SOLVER.BASE_LR == 1e-2


def test_random_draws_and_variants(played, config, output, read):
    draws = ["SOLVER.BASE_LR=loguniform(1e-6,1e-2)"]
    search(config, str(output), draws=draws, trials=4)
    assert len(set(played.rates)) == 4
    search(config, str(output), draws=draws, trials=6)
    assert len(set(played.rates)) == len(played.rates) == 6

    played.started.clear()
    played.score = lambda cfg: 30.0 if cfg.INPUT.RANDOM_FLIP == "none" else 20.0
    variants = ["as it is:", "no flips: INPUT.RANDOM_FLIP none INPUT.AUGMENTATION.CONTRAST 0.0"]
    search(config, str(output), variants=variants)
    assert read()["variant"].tolist() == ["as it is", "no flips"]
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


def test_missing_weights_are_found_before_anything_is_trained(played, config, output):
    overrides = ["MODEL.WEIGHTS", "none.pth"]
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file"):
        search(config, str(output), overrides, grids=[RATES])
    assert not played.started and not output.exists()


def test_a_wrong_metric_costs_one_training_and_loses_none(played, config, output):
    with pytest.raises(InputError, match=r"'kaggle/map' is not among.*kaggle/mAP, segm/AP"):
        search(config, str(output), grids=[RATES], metric="kaggle/map")
    assert search(config, str(output), grids=[RATES]) == 0
    assert len(played.started) == 3


def test_what_another_process_trains_is_left_to_it(played, config, output, read):
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
    assert set(read()["state"]) == {"done"}


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
    config, output, tmp_path, monkeypatch, script, error, read
):
    monkeypatch.setattr(trial_runs.sys, "executable", shell(tmp_path, script))
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"]) == 1
    assert read()["error"].tolist() == [error]


def test_ctrl_c_while_a_process_starts_ends_it(config, output, tmp_path, monkeypatch):
    started = []

    class Process(subprocess.Popen):
        def __init__(self, command, **options):
            super().__init__(command, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)  # as during the fork

    monkeypatch.setattr(trial_runs.subprocess, "Popen", Process)
    monkeypatch.setattr(trial_runs.sys, "executable", shell(tmp_path, "sleep 60"))
    with pytest.raises(KeyboardInterrupt):
        search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"])
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_process_interrupts_the_search(config, output, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_runs.sys, "executable", shell(tmp_path, "exit 130"))
    with pytest.raises(KeyboardInterrupt):
        search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"])


def test_a_process_without_evaluation_failed(config, output, tmp_path, monkeypatch, read):
    monkeypatch.setattr(trial_runs.sys, "executable", shell(tmp_path, "exit 0"))
    assert search(config, str(output), grids=["SOLVER.BASE_LR=1e-4"]) == 1
    assert "without an evaluation" in read()["error"][0]


def shell(folder, script):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_real_training_in_a_process_of_its_own(config, output, tiny_overrides, monkeypatch, read):
    monkeypatch.chdir(Path(config).parents[2])
    overrides = [*tiny_overrides, "SOLVER.MAX_ITER", "2"]
    assert search(config, str(output), overrides, grids=["SOLVER.BASE_LR=1e-4"]) == 0
    (row,) = read().to_dict("records")
    assert (row["state"], row["iterations"], row["SEED"]) == ("done", 2, 1)
    evaluation = pd.read_csv(output / row["folder"] / "evaluation.csv")
    assert row["kaggle/mAP"] == evaluation["kaggle/mAP"].iloc[-1]
    assert row["seconds"] > 0
    assert (
        "Starting training from iteration 0" in (output / row["folder"] / "train.log").read_text()
    )
