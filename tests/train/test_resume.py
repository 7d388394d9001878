"""Trainings that were killed or that get a longer schedule, and --resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from detectron2.engine import AMPTrainer

from nucdet.errors import InputError
from nucdet.train.run import prepare, run
from nucdet.train.trainer import NucleusTrainer


@pytest.fixture
def output(tmp_path):
    """The output folder of ``arguments``."""
    return tmp_path / "output"


@pytest.fixture
def run_until_killed(monkeypatch):
    """Trains, and dies in iteration 3."""
    step = NucleusTrainer.run_step

    def die_in_iteration_3(self):
        if self.iter == 3:
            raise KeyboardInterrupt
        step(self)

    def train(args):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(NucleusTrainer, "run_step", die_in_iteration_3)
            run(args)

    return train


def test_a_killed_training_resumes_where_its_checkpoint_is(
    arguments, monkeypatch, output, run_until_killed
):
    args = arguments("DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.MAX_ITER", "6")
    run_until_killed(args)
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1, 2]

    started = []
    step = NucleusTrainer.run_step
    monkeypatch.setattr(
        NucleusTrainer, "run_step", lambda self: (started.append(self.iter), step(self))
    )
    args.resume = True
    run(args)
    assert started == [2, 3, 4, 5]
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_training_killed_while_it_evaluates_leaves_no_gap(
    arguments, monkeypatch, score_as, output
):
    """The checkpoint of iteration 1 is written, the evaluation after it is not."""
    args = arguments("SOLVER.CHECKPOINT_PERIOD", "2", "TEST.EVAL_PERIOD", "2")
    score_as(30.0, 20.0, 10.0)

    def die(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(NucleusTrainer, "_evaluate", die)
        run(args)
    with (output / "losses.csv").open("ab") as file:
        file.write(b"1")  # of a row that begins with 12
    args.resume = True
    run(args)
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1, 2, 3]
    # the evaluation is repeated with the weights of iteration 1
    evaluated = pd.read_csv(output / "evaluation.csv")
    assert evaluated.values.tolist() == [[1, 30], [4, 20]]
    best, then = (
        torch.load(output / f"{name}.pth", weights_only=False)
        for name in ("model_best", "model_0000001")
    )
    assert best["iteration"] == 1
    assert all(torch.equal(w, then["model"][name]) for name, w in best["model"].items())

    args.opts += ["SOLVER.MAX_ITER", "6"]
    run(args)  # no evaluation is missing
    assert pd.read_csv(output / "evaluation.csv").values.tolist() == [[1, 30], [4, 20], [6, 10]]


def test_a_training_that_starts_anew_is_resumed_not_the_one_before(
    arguments, output, run_until_killed
):
    keys = ("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "5")
    run(arguments(*keys))
    args = arguments(*keys, "SOLVER.CHECKPOINT_PERIOD", "4")
    run_until_killed(args)  # before its first checkpoint
    log = (output / "log.txt").read_text()
    assert log.count("starts anew and replaces the earlier training there; --resume would") == 1
    args.resume = True
    run(args)
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1, 2, 3, 4]


def test_a_training_that_starts_anew_does_not_continue_the_logs_of_the_one_before(
    arguments, output
):
    args = arguments("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "2")
    run(args)
    (first,) = output.glob("events.out.tfevents.*")
    run(args)
    (events,) = output.glob("events.out.tfevents.*")
    assert events != first
    assert [row["iteration"] for row in _metrics(output)] == [1]

    args = arguments("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "4", "--resume")
    run(args)
    assert len(list(output.glob("events.out.tfevents.*"))) == 2
    assert [row["iteration"] for row in _metrics(output)] == [1, 3]


def _metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]


def test_the_best_model_of_an_earlier_training_is_replaced(
    arguments, score_as, output, run_until_killed
):
    """The second training scores less, and is killed before its first evaluation."""
    score_as(80.0, 60.0)
    keys = ("SOLVER.CHECKPOINT_PERIOD", "2", "TEST.EVAL_PERIOD", "0", "SOLVER.MAX_ITER", "5")
    args = arguments(*keys)
    run(args)
    run_until_killed(args)
    args.resume = True
    run(args)
    assert torch.load(output / "model_best.pth", weights_only=True)["value"] == 60


@pytest.mark.parametrize(
    ("patience", "scores"),
    [
        (2, [30, 20, 40, 35, 36]),  # which is the best
        (3, [30, 20, 25, 22]),  # which is not
    ],
)
def test_patience_counts_the_evaluation_that_the_checkpoint_does_not_know(
    arguments, score_as, output, run_until_killed, patience, scores
):
    """The checkpoint of iteration 2 is saved before its evaluation."""
    args = arguments(
        "SOLVER.CHECKPOINT_PERIOD", "1", "TEST.EVAL_PERIOD", "1",
        "SOLVER.EARLY_STOP_PATIENCE", str(patience), "SOLVER.MAX_ITER", "9",
    )  # fmt: skip
    score_as(*scores, 90)
    run_until_killed(args)
    args.resume = True
    run(args)
    assert pd.read_csv(output / "evaluation.csv")["kaggle/mAP"].tolist() == scores


def test_a_gpu_goes_on_from_the_checkpoint_of_a_cpu(arguments, monkeypatch):
    args = arguments("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "1", "SOLVER.AMP.ENABLED", "True")
    run(args)
    # what a GPU takes; without one it can be made and loaded, and does not train
    monkeypatch.setattr("nucdet.train.trainer._mixed_precision_trainer", lambda cfg: AMPTrainer)
    trainer = NucleusTrainer(prepare(args))
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 1


@pytest.mark.parametrize("size", [0, 10, -1000])
def test_a_half_written_checkpoint_is_skipped_for_the_one_before(arguments, caplog, size, output):
    keys = ("DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.MAX_ITER")
    args = arguments(*keys, "2")
    run(args)
    (output / "last_checkpoint").write_text("model_0000001.pth")
    newest = output / "model_0000001.pth"
    newest.write_bytes(newest.read_bytes()[:size])
    trainer = NucleusTrainer(prepare(args))
    with caplog.at_level("WARNING"):
        trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 1
    assert any("model_0000001.pth" in line and "before" in line for line in caplog.messages)
    (output / "model_0000000.pth").unlink()
    with pytest.raises(InputError, match="no whole checkpoint; train without --resume"):
        trainer.resume_or_load(resume=True)


def test_a_resumed_training_sees_other_images_than_its_start(arguments, monkeypatch, output):
    seen = []
    step = NucleusTrainer.run_step

    def note_images(self):
        data = next(self._trainer._data_loader_iter)
        seen.append(torch.cat([x["image"].flatten() for x in data]))
        step(self)

    monkeypatch.setattr(NucleusTrainer, "run_step", note_images)
    keys = ["DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.MAX_ITER"]
    run(arguments(*keys, "1"))
    for _ in range(2):  # going on is as reproducible as starting
        args = arguments("--resume", *keys, "2")
        run(args)
        (output / "last_checkpoint").write_text("model_0000000.pth")
    start, resumed, again = seen
    assert start.shape != resumed.shape or not torch.equal(start, resumed)
    assert torch.equal(resumed, again)


def test_a_longer_schedule_goes_on_from_the_end_of_a_shorter_one(arguments, output):
    run(arguments("SOLVER.MAX_ITER", "1"))
    args = arguments("--resume", "SOLVER.MAX_ITER", "2")
    run(args)
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1]
    assert pd.read_csv(output / "evaluation.csv")["iteration"].tolist() == [1, 2]
    run(args)  # nothing is left to train: the evaluation is run again, and its row replaced
    assert pd.read_csv(output / "evaluation.csv")["iteration"].tolist() == [1, 2]


def test_a_schedule_shorter_than_what_was_trained_leaves_nothing_to_do(arguments, output):
    keys = ("DATASETS.TEST", "()", "SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR")
    run(arguments(*keys, "SOLVER.MAX_ITER", "2"))
    run(arguments("--resume", *keys, "SOLVER.MAX_ITER", "1"))
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1]


def test_a_training_goes_on_at_the_rate_that_its_config_has_now(arguments, output):
    """As the message of a diverged training proposes."""
    keys = ("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "2", "SOLVER.BASE_LR")
    run(arguments("SOLVER.CHECKPOINT_PERIOD", "1", *keys, "0.01"))
    (output / "last_checkpoint").write_text("model_0000000.pth")
    rates = []
    for rate in ("0.01", "0.001"):
        args = arguments("--resume", *keys, rate)
        trainer = NucleusTrainer(prepare(args))
        trainer.resume_or_load(resume=True)
        assert trainer.start_iter == 1
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates[1] == pytest.approx(rates[0] / 10)


def test_a_training_goes_on_with_the_decay_and_momentum_that_its_config_has_now(arguments):
    keys = ("DATASETS.TEST", "()", "SOLVER.OPTIMIZER", "SGD", "SOLVER.MAX_ITER")
    run(arguments(*keys, "1"))
    now = ("SOLVER.WEIGHT_DECAY", "0.25", "SOLVER.MOMENTUM", "0.5")
    trainer = NucleusTrainer(prepare(arguments("--resume", *keys, "2", *now)))
    trainer.resume_or_load(resume=True)
    groups = trainer.optimizer.param_groups
    assert {group["momentum"] for group in groups} == {0.5}
    assert 0.25 in {group["weight_decay"] for group in groups}
    trainer.train()


def test_adam_goes_on_as_adam_from_a_checkpoint_of_adamw(arguments):
    keys = ("DATASETS.TEST", "()", "SOLVER.MAX_ITER")
    run(arguments(*keys, "1", "SOLVER.OPTIMIZER", "ADAMW"))
    args = arguments("--resume", *keys, "2", "SOLVER.OPTIMIZER", "ADAM")
    trainer = NucleusTrainer(prepare(args))
    fresh = trainer.optimizer.state_dict()["param_groups"]
    trainer.resume_or_load(resume=True)
    resumed = trainer.optimizer.state_dict()["param_groups"]
    assert [{**group, "lr": 0} for group in resumed] == [{**group, "lr": 0} for group in fresh]


@pytest.mark.parametrize(
    "change",
    [("SOLVER.OPTIMIZER", "SGD"), ("SOLVER.LR_FACTORS", "[['roi_heads', 0.1]]")],
)
def test_another_optimizer_than_that_of_the_checkpoint_is_one_line(arguments, change):
    keys = ("DATASETS.TEST", "()", "SOLVER.OPTIMIZER", "ADAMW", "SOLVER.MAX_ITER")
    run(arguments(*keys, "1"))
    with pytest.raises(InputError, match="the optimizer in its checkpoint is not that of"):
        run(arguments("--resume", *keys, "2", *change))
