"""Cross-validation whose trainings are played."""

from __future__ import annotations

import pytest

from nucdet.data.dataset_info import DatasetInfo, fold_splits, write_dataset_file
from nucdet.data.manifest import write_manifest
from nucdet.errors import InputError
from nucdet.tuning.cross_validate import cross_validate
from nucdet.tuning.trial_runs import TrialError

DSB2018 = ["DATASETS.TRAIN", "('dsb2018_train',)"]
MINE = ["DATASETS.TRAIN", "('mine_train',)"]


@pytest.fixture
def parts_of_dsb2018(tmp_path, monkeypatch, read):
    """Files of three folds and of the kinds, which are asked for but not read here."""
    folder = tmp_path / "datasets/dsb2018/annotations"
    folder.mkdir(parents=True)
    names = [*fold_splits(3)]
    for kind in ("fluorescence", "bright_field", "stained_light", "stained_tinted"):
        names += [f"only_{kind}", f"without_{kind}"]
    for name in names:
        (folder / f"instances_{name}.json").touch()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return folder


@pytest.fixture
def own_folds(tmp_path, monkeypatch):
    """A function that writes what a conversion of the data set "mine" into K folds leaves."""
    folder = tmp_path / "datasets/mine"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))

    def convert(count):
        info = DatasetInfo("mine", ("train", "val", *fold_splits(count)))
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        write_dataset_file(folder / "dataset.yaml", info)
        files = [info.json_file(folder.parent, split) for split in info.splits]
        for file in files:
            file.write_text(f"{count} folds")
        write_manifest(folder / "annotations", [file.name for file in files])
        return folder

    return convert


def test_folds_give_mean_and_deviation_of_every_metric(
    played, config, output, parts_of_dsb2018, capsys, read
):
    played.score = lambda cfg: 40.0 + int(cfg.DATASETS.TEST[0].split("_")[1][-1])
    assert cross_validate(config, str(output), DSB2018, folds=3, only=["2"]) == 0
    assert [t.cfg.DATASETS.TEST for t in played.started] == [("dsb2018_fold2_val",)]
    assert cross_validate(config, str(output), DSB2018) == 0
    assert [t.cfg.DATASETS.TRAIN for t in played.started] == [
        ("dsb2018_fold2_train",), ("dsb2018_fold0_train",), ("dsb2018_fold1_train",),
    ]  # fmt: skip
    assert read("cross_validation.csv")["kaggle/mAP"].tolist() == [40, 41, 42]
    summary = read("summary.csv").set_index("metric")
    assert summary.loc["kaggle/mAP"].tolist() == [41, 1, 3]
    # a metric that no fold has a value of
    assert summary.loc["segm/AP", "trainings"] == 0
    # the score is read without scrolling over the table of all metrics
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == "kaggle/mAP: 41.00 ± 1.00 over 3 trainings"


def test_users_own_data_gives_as_many_folds_as_it_was_converted_into(
    played, config, output, own_folds
):
    own_folds(3)
    assert cross_validate(config, str(output), MINE) == 0
    assert [(*t.cfg.DATASETS.TRAIN, *t.cfg.DATASETS.TEST) for t in played.started] == [
        (f"mine_fold{k}_train", f"mine_fold{k}_val") for k in range(3)
    ]
    assert cross_validate(config, str(output), MINE) == 0
    assert len(played.started) == 3


def test_two_commands_share_the_folds_and_the_tables_have_all(
    played, config, output, own_folds, read
):
    own_folds(2)

    def train_the_other(cfg):
        if cfg.DATASETS.TEST[0] == "mine_fold0_val":
            assert cross_validate(config, str(output), MINE, only=["1"]) == 0
        return 40.0

    played.score = train_the_other
    assert cross_validate(config, str(output), MINE, only=["0"]) == 0
    assert read("cross_validation.csv")["state"].tolist() == ["done", "done"]
    assert read("summary.csv").set_index("metric").loc["kaggle/mAP", "trainings"] == 2


def test_results_of_data_that_has_changed_are_not_averaged_with_new_ones(
    played, config, output, own_folds, read
):
    own_folds(3)
    assert cross_validate(config, str(output), MINE, only=["1"]) == 0
    before = read("summary.csv")
    own_folds(4)
    with pytest.raises(InputError, match=r"trainings \(fold=1\) whose data .*another --output-dir"):
        cross_validate(config, str(output), MINE)
    assert read("summary.csv").equals(before) and len(played.started) == 1
    assert cross_validate(config, str(output.with_name("new")), MINE) == 0
    assert len(played.started) == 5


def test_a_training_that_was_killed_does_not_go_on_with_other_data(
    played, config, output, own_folds, monkeypatch
):
    own_folds(3)

    class Killed(BaseException):
        pass

    def kill(*arguments):  # in a real kill, nothing is written afterwards
        monkeypatch.setattr("nucdet.tuning.trial_runs.write_outcome", lambda *_: None)
        raise Killed

    monkeypatch.setattr("nucdet.tuning.trial_runs.train", kill)
    with pytest.raises(Killed):
        cross_validate(config, str(output), MINE)
    monkeypatch.undo()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(own_folds(4).parent))
    monkeypatch.setattr("nucdet.tuning.trial_runs.train", played)
    with pytest.raises(InputError, match=r"trainings \(fold=0\) whose data"):
        cross_validate(config, str(output), MINE)
    own_folds(3)
    assert cross_validate(config, str(output), MINE) == 0
    assert len(played.started) == 3


def test_data_that_is_converted_while_it_is_trained_on_ends_the_run(
    played, config, output, own_folds
):
    own_folds(3)

    def convert_again(cfg):
        own_folds(4)
        return 1.0

    played.score = convert_again
    with pytest.raises(InputError, match=r"trainings \(fold=0\) whose data"):
        cross_validate(config, str(output), MINE)
    assert len(played.started) == 1


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
    ("options", "message"),
    [
        ({"folds": 2}, "--folds 2: found 3 folds in .*leave --folds out .*dsb2018 --root .*ds 2$"),
        ({"folds": 4}, "--folds 4: found 3 folds in "),
        ({"folds": 1}, "expected 2 or more"),
        ({"folds": 3, "only": ["3"]}, "--only 3: expected some of 0,1,2"),
        ({"leave_out_kind": True, "only": ["a"]}, "--only a: expected some of fluor"),
        ({"overrides": ["DATASETS.TRAIN", "('synthetic_train',)"]}, "synthetic, for .* no folds;"),
        ({"overrides": ["DATASETS.TRAIN", "('dsb2018_train', 'mine_val')"]}, "a split of one data"),
        ({"overrides": ["DATASETS.TRAIN", "()"]}, "found nothing; expected a split of one data"),
        ({"overrides": ["DATASETS.TRAIN", "('other_train',)"]}, "'other_train' is not registered"),
    ],
)
def test_mistakes_about_folds(
    played, config, output, parts_of_dsb2018, own_folds, options, message
):
    own_folds(3)
    with pytest.raises(InputError, match=message):
        cross_validate(config, str(output), **{"overrides": DSB2018, **options})
    assert not played.started and not output.exists()


def test_missing_folds_are_named_with_the_command_that_makes_them(
    played, config, output, own_folds
):
    folder = own_folds(0)
    with pytest.raises(InputError) as error:
        cross_validate(config, str(output), MINE)
    assert str(error.value) == (
        f"{folder}/annotations: found the splits train, val, but no folds of mine; make them: "
        "nucdet-convert labels or coco --name mine with the same options as before and --folds 5"
    )
    own_folds(3)
    (folder / "annotations/instances_fold1_val.json").unlink()
    with pytest.raises(
        InputError, match=r"fold1_train\.json: belongs to a fold, but others are mis"
    ):
        cross_validate(config, str(output), MINE)
    with pytest.raises(InputError, match="found no split, but no folds of dsb2018; make them: nuc"):
        cross_validate(config, str(output), DSB2018)
    # of an earlier conversion into more folds
    parts = folder.parent / "dsb2018/annotations"
    parts.mkdir(parents=True)
    for split in ("train", *fold_splits(4)):
        (parts / f"instances_{split}.json").touch()
    write_manifest(parts, [f"instances_{split}.json" for split in ("train", *fold_splits(3))])
    assert cross_validate(config, str(output), DSB2018) == 0
    assert len(played.started) == 3
    write_manifest(parts, ["instances_train.json"])
    with pytest.raises(InputError, match="found the splits train, but no folds"):
        cross_validate(config, str(output), DSB2018)
    assert len(played.started) == 3
