"""Cross-validation whose trainings are played."""

from __future__ import annotations

import pytest

from nucdet.errors import InputError
from nucdet.tuning.cross_validate import cross_validate
from nucdet.tuning.trials import TrialError


@pytest.fixture
def parts_of_dsb2018(tmp_path, monkeypatch, read):
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
    played, config, output, parts_of_dsb2018, capsys, read
):
    played.score = lambda cfg: 40.0 + int(cfg.DATASETS.TEST[0].split("_")[1][-1])
    assert cross_validate(config, str(output), folds=3, only=["2"]) == 0
    assert [t.cfg.DATASETS.TEST for t in played.started] == [("dsb2018_fold2_val",)]
    assert cross_validate(config, str(output), folds=3) == 0
    assert [t.cfg.DATASETS.TRAIN for t in played.started] == [
        ("dsb2018_fold2_train",), ("dsb2018_fold0_train",), ("dsb2018_fold1_train",),
    ]  # fmt: skip
    assert read("cross_validation.csv")["kaggle/mAP"].tolist() == [40, 41, 42]
    summary = read("summary.csv").set_index("metric")
    assert summary.loc["kaggle/mAP"].tolist() == [41, 1, 3]
    # a metric that no fold has a value of
    assert summary.loc["segm/AP", "trainings"] == 0
    assert "41.00 ± 1.00" in capsys.readouterr().out


def test_a_finished_part_whose_data_has_changed_is_named(
    played, config, output, parts_of_dsb2018, capsys
):
    assert cross_validate(config, str(output), folds=3) == 0
    assert cross_validate(config, str(output), folds=3) == 0
    assert "note:" not in capsys.readouterr().out
    (parts_of_dsb2018 / "instances_fold1_val.json").write_text("{}")
    assert cross_validate(config, str(output), folds=3) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if "note:" in line]
    assert len(notes) == 1 and "fold=1: its data was converted again" in notes[0]
    assert len(played.started) == 3


def test_each_kind_is_scored_by_a_training_without_it(
    played, config, output, parts_of_dsb2018, read, raiser
):
    played.score = raiser(TrialError("x"), 0)
    assert cross_validate(config, str(output), leave_out_kind=True, only=["bright_field"]) == 0
    (trial,) = played.started
    assert trial.cfg.DATASETS.TRAIN == ("dsb2018_without_bright_field",)
    assert trial.cfg.DATASETS.TEST == ("dsb2018_only_bright_field",)
    table = read("cross_validation.csv").set_index("kind")
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
