"""A semantic model through training and ``--eval-only``, as the command line starts them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from nucdet.commands.train import argument_parser
from nucdet.errors import InputError
from nucdet.train.run import prepare, run
from nucdet.train.trainer import NucleusTrainer
from nucdet.train.validation_loss import validation_losses

CONFIG = "configs/quick_schedules/unet_lite0_synthetic.yaml"


@pytest.fixture
def arguments(repository, registered, tiny_overrides):
    """Parsed arguments of a run of seconds; more flags and KEY VALUE pairs may be given."""

    def parse(*extra: str):
        flags = [text for text in extra if text.startswith("--")]
        pairs = [text for text in extra if not text.startswith("--")]
        tiny = [*tiny_overrides, "INPUT.CROP.SIZE", "(64, 64)", "SOLVER.MAX_ITER", "2"]
        return argument_parser().parse_args(
            ["--config-file", str(repository / CONFIG), *flags, *tiny, *pairs]
        )

    return parse


def test_trains_and_one_process_finds_what_two_find(arguments, tmp_path):
    output = tmp_path / "output"
    run(arguments("TEST.EVAL_PERIOD", "2", "TEST.VALIDATION_LOSS", "True"))
    losses = pd.read_csv(output / "losses.csv")
    assert losses["total_loss"].notna().all() and len(losses) == 2
    evaluation = pd.read_csv(output / "evaluation.csv")
    wanted = {"kaggle/mAP", "segm/AP50", "foreground/IoU", "validation/total_loss"}
    assert wanted <= set(evaluation)

    results = {}
    for processes in (1, 2):
        weights = str(output / "model_final.pth")
        args = arguments("--eval-only", "MODEL.WEIGHTS", weights, "MODEL.SEPARATION.MIN_SIZE", "3")
        args.num_gpus = processes
        run(args)
        folder = output / "inference" / "synthetic_val"
        predictions = json.loads((folder / "coco_instances_results.json").read_text())
        order = sorted(predictions, key=lambda p: (p["image_id"], p["bbox"], p["score"]))
        table = pd.read_csv(folder / "kaggle_per_image.csv").sort_values("id")
        results[processes] = (order, table.to_csv(index=False))
    assert results[1][0]
    assert all(0 < p["score"] <= 1 for p in results[1][0])
    assert results[1] == results[2]


def test_two_processes_evaluate_the_network_that_is_saved(arguments, tmp_path):
    """Batch norm learns other statistics in each process; those of the first are saved."""
    args = arguments("TEST.EVAL_PERIOD", "2", "TEST.VALIDATION_LOSS", "True")
    args.num_gpus = 2
    run(args)
    found = pd.read_csv(tmp_path / "output" / "evaluation.csv")["validation/total_loss"].item()

    trainer = NucleusTrainer(prepare(args))
    trainer.checkpointer.load(str(tmp_path / "output" / "model_final.pth"), checkpointables=[])
    loader = trainer.build_validation_loader()
    expected = validation_losses(trainer.bare_model, loader)["total_loss"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_without_a_network_there_is_an_evaluation_and_no_training(arguments, tmp_path):
    overrides = ["MODEL.SEGMENTATION.NETWORK", "none", "MODEL.SEPARATION.THRESHOLD", "otsu"]
    run(arguments("--eval-only", *overrides))
    folder = tmp_path / "output" / "inference" / "synthetic_val"
    assert json.loads((folder / "coco_instances_results.json").read_text())
    with pytest.raises(InputError, match="nothing to train"):
        run(arguments(*overrides))
