"""benchmarks/published_systems.py: rows run once, in order, and fill the tables."""

from __future__ import annotations

import inspect
import os
import sys

import pandas as pd
import pytest
import yaml
from detectron2.data import DatasetCatalog

from nucdet.config import load_config
from nucdet.errors import InputError

ROWS = [
    {"name": "watershed", "config": "classical_watershed.yaml", "kind": "evaluate"},
    {"name": "linknet", "config": "linknet_2.yaml", "published": "0.218"},
    {
        "name": "twice",
        "config": "ensemble_unet_linknet.yaml",
        "kind": "evaluate",
        "set": {
            "MODEL.SEGMENTATION.MEMBERS": [{"NETWORK": "LinkNet", "CHANNELS": [4, 8]}],
            "MODEL.WEIGHTS": "ensemble://{linknet}/model_best.pth",
        },
    },
    {
        "name": "rates",
        "config": "linknet_2.yaml",
        "kind": "search",
        "group": "sweeps",
        "seeds": [3, 4],
        "options": {"grids": ["SOLVER.BASE_LR=0.001"]},
    },
]
PAIRS = {
    "DATASETS.TRAIN": "('synthetic_train',)",
    "DATASETS.TEST": "('synthetic_val',)",
    "MODEL.SEGMENTATION.CHANNELS": "(4,8)",
    "MODEL.SEMANTIC.RESIZE": "64",
    "INPUT.CROP.SIZE": "(64,64)",
    "INPUT.MIN_SIZE_TRAIN": "(64,)",
    "INPUT.MIN_SIZE_TEST": "64",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.MAX_ITER": "4",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.CHECKPOINT_PERIOD": "2",
    "TEST.EVAL_PERIOD": "2",
    "TEST.EVALUATORS": "('kaggle',)",
}


@pytest.fixture
def harness(load_benchmark):
    return load_benchmark("published_systems")


@pytest.fixture
def run(harness, monkeypatch, tmp_path, registered):
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(ROWS), encoding="utf-8")

    def run(*arguments: str) -> int:
        command = ["x", "--rows", str(tmp_path / "rows.yaml"), "--output", str(tmp_path / "out")]
        pairs = [text for pair in PAIRS.items() for text in pair]
        monkeypatch.setattr(sys, "argv", [*command, *arguments, *pairs])
        return harness.main()

    return run


def test_rows_go_on_and_fill_the_tables(run, harness, tmp_path, capsys):
    assert run("--only", "watershed,twice") == 1  # its weights are not there yet
    assert "model_best.pth" in capsys.readouterr().err
    assert run() == 0
    table = pd.read_csv(tmp_path / "out/published_systems.csv")
    assert table["row"].tolist() == ["watershed", "linknet", "twice"]
    assert table["iterations"].tolist() == [0, 4, 0]
    assert (table["state"] == "done").all()
    # an ensemble of one network is that network
    assert table["kaggle/mAP"].iloc[2] == pytest.approx(table["kaggle/mAP"].iloc[1], abs=0.2)
    text = (tmp_path / "out/published_systems.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0] for line in text[2:]] == ["| watershed", "| linknet", "| twice"]
    assert "0.218" in text[3]

    assert (tmp_path / "out/published_systems.png").is_file()
    rows = harness.Harness(harness.read_rows(tmp_path / "rows.yaml"), tmp_path / "out")
    (axes,) = rows.curves(table.to_dict("records")).axes
    trained, level = axes.lines
    assert trained.get_label() == "linknet"
    # epochs at the evaluations after 2 and 4 iterations of 2 images
    images = len(DatasetCatalog.get("synthetic_train"))
    assert list(trained.get_xdata()) == pytest.approx([4 / images, 8 / images])
    assert trained.get_ydata()[-1] == table["kaggle/mAP"].iloc[1]
    assert level.get_ydata()[0] == table["kaggle/mAP"].iloc[0]
    log = tmp_path / "out" / table["folder"].iloc[1] / "train.log"
    assert (log.parent / "training.png").is_file()
    before = log.stat().st_mtime_ns
    assert run() == 0  # nothing is left to do
    assert log.stat().st_mtime_ns == before
    assert pd.read_csv(tmp_path / "out/published_systems.csv").equals(table)

    # the training of another row's weights has continued since they were evaluated
    evaluated = tmp_path / "out" / table["folder"].iloc[2] / "evaluation.csv"
    pd.read_csv(evaluated).assign(**{"kaggle/mAP": 99.0}).to_csv(evaluated, index=False)
    later = evaluated.stat().st_mtime + 1
    os.utime(log.with_name("model_best.pth"), (later, later))
    assert run() == 0
    after = pd.read_csv(tmp_path / "out/published_systems.csv")
    assert after["kaggle/mAP"].equals(table["kaggle/mAP"])


def test_each_seed_is_evaluated_with_the_training_of_its_place(harness, tmp_path, registered):
    entries = [
        {"name": "one", "config": "linknet_2.yaml"},
        {"name": "two", "config": "linknet_2.yaml", "seeds": [5, 6]},
        {
            "name": "both",
            "config": "linknet_2.yaml",
            "kind": "evaluate",
            "seeds": [5, 6],
            "set": {"MODEL.WEIGHTS": "ensemble://{one}/a.pth,{two}/b.pth"},
        },
    ]
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    pairs = [text for pair in PAIRS.items() for text in pair]
    system = harness.Harness(harness.read_rows(path), tmp_path / "out", pairs)
    (one,), two = system.trainings(system.rows["one"]), system.trainings(system.rows["two"])
    for weights in (one.folder / "a.pth", *(trial.folder / "b.pth" for trial in two)):
        weights.parent.mkdir(parents=True)
        weights.touch()
    both = system.trainings(system.rows["both"])
    assert [trial.cfg.MODEL.WEIGHTS for trial in both] == [
        f"ensemble://{one.folder}/a.pth,{trial.folder}/b.pth" for trial in two
    ]
    assert two[0].folder != two[1].folder


def test_a_search_trains_each_setting_with_each_seed(run, tmp_path):
    assert run("--group", "sweeps") == 0
    table = pd.read_csv(tmp_path / "out/published_systems.csv")
    assert table["row"].tolist() == ["rates", "rates"]
    assert table["SEED"].tolist() == [3, 4] and (table["state"] == "done").all()


def test_the_options_of_the_rows_are_valid(harness):
    rows = harness.read_rows(harness.ROWS).values()
    assert {row.kind for row in rows} == set(harness.KINDS)
    for row in rows:
        if row.kind == "search":
            assert row.space.grids or row.space.variants or row.space.draws
        elif row.kind == "folds":
            inspect.signature(harness.cross_validate).bind("a.yaml", "out", [], **row.options)


def test_table_has_means_over_seeds_and_the_best_of_a_search(harness):
    rows = [
        harness.Row("a", "a.yaml", published="0.2"),
        harness.Row("b", "b.yaml", kind="search"),
        harness.Row("not_run", "c.yaml"),
    ]
    lines = [
        {"row": "a", "state": "done", "kaggle/mAP": 40.0, "iterations": 100, "minutes": 3.0},
        {"row": "a", "state": "running", "kaggle/mAP": 43.0, "iterations": 50, "minutes": 1.0},
        {"row": "b", "state": "done", "kaggle/mAP": 10.0, "kaggle/AP50": 30.0},
        {"row": "b", "state": "done", "kaggle/mAP": 20.0, "kaggle/AP50": 25.0},
    ]
    a, b = harness.markdown(rows, lines).splitlines()[2:]
    assert a == "| a | 0.2 | 41.5 | – | – | – | – | – | 40.0, 43.0 (1 not finished) | 75 | 2 |"
    assert b.startswith("| b |  | 20.0 | 25.0 | –") and "| 10.0, 20.0 |" in b
    lines = [{"row": "a", "state": "done", "subsystems/rpn_objectness": 0.5}]
    assert "| 0.5000 | – |" in harness.markdown(rows, lines)


def test_mistakes_are_one_line(run, harness, tmp_path):
    with pytest.raises(InputError, match="no_such"):
        run("--only", "no_such")
    (tmp_path / "wrong.yaml").write_text("- {name: a, config: b.yaml, kind: guess}\n")
    with pytest.raises(InputError, match="guess"):
        harness.read_rows(tmp_path / "wrong.yaml")


def test_every_row_has_a_config_that_loads(harness, tmp_path, registered):
    rows = harness.read_rows(harness.ROWS)
    assert {row.group for row in rows.values()} >= {"systems", "variants", "refinements", "sweeps"}
    for row in rows.values():
        pairs = [text for key, value in row.set.items() for text in (key, str(value))]
        load_config(row.config_file, pairs)
