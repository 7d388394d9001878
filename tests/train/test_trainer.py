"""Training runs of seconds on drawn images, through the command line's own entry."""

from __future__ import annotations

import json
import pickle
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import AMPTrainer, SimpleTrainer, hooks
from portalocker import LockException
from torch.utils.data import DataLoader

from nucdet.config import load_config
from nucdet.data.conversion.labels import convert_labels
from nucdet.data.conversion.own_data import OwnData
from nucdet.errors import InputError
from nucdet.evaluation.offline import evaluate_predictions
from nucdet.files import find_left_over
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.train.run import prepare, run
from nucdet.train.trainer import Bfloat16Trainer, NucleusTrainer, _mixed_precision_trainer


def _output(args) -> Path:
    return Path(args.opts[args.opts.index("OUTPUT_DIR") + 1])


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=False)["model"]


def test_a_run_leaves_what_it_promises(arguments, monkeypatch):
    monkeypatch.setattr("nucdet.train.logs.PERIOD", 0)  # of the lines between two of 20 iterations
    args = arguments("TEST.EVAL_PERIOD", "2", "TEST.VALIDATION_LOSS", "True")
    run(args)
    output = _output(args)
    losses = pd.read_csv(output / "losses.csv")
    assert losses["iteration"].tolist() == [0, 1, 2, 3]
    parts = losses[[c for c in losses if c.startswith("loss_")]]
    assert np.allclose(parts.sum(axis=1), losses["total_loss"], rtol=1e-3)
    assert {"lr", "time"} <= set(losses)
    assert (losses["cpu_time"] > 0).all()

    evaluation = pd.read_csv(output / "evaluation.csv")
    assert len(evaluation) == 2
    assert {"kaggle/mAP", "segm/AP50", "validation/total_loss"} <= set(evaluation)
    assert (evaluation["validation/loss_mask"] > 0).all()

    best = torch.load(output / "model_best.pth", weights_only=True)
    assert best["metric"] == "kaggle/mAP"
    assert best["value"] == pytest.approx(evaluation["kaggle/mAP"].max())
    assert (output / "config.yaml").is_file()
    lines = (output / "log.txt").read_text().splitlines()
    assert [sum(f"  iter: {i}  " in line for line in lines) for i in range(4)] == [1, 1, 1, 1]
    assert (output / "metrics.json").is_file()
    assert list(output.glob("events.*"))
    assert (output / "last_checkpoint").read_text() == "model_final.pth"


def test_a_score_on_images_that_are_trained_on_is_called_too_high(arguments, monkeypatch, capfd):
    monkeypatch.setattr(NucleusTrainer, "train", lambda self: None)
    run(arguments("DATASETS.TEST", "('synthetic_val', 'synthetic_train')"))
    lines = [line for line in capfd.readouterr().out.splitlines() if "too high" in line]
    assert len(lines) == 1 and "synthetic_train: 8 of its images are trained on, too" in lines[0]


def test_no_other_training_writes_into_the_folder_meanwhile(arguments, monkeypatch):
    started = []

    def process(function, args, argument):
        started.append(args.machine_rank)
        if len(started) == 1:  # while this one trains
            with pytest.raises(InputError, match=r"another command trains .* another OUTPUT_DIR"):
                run(args)
            args.machine_rank = 1  # of the same training, on another machine
            run(args)

    monkeypatch.setattr("nucdet.train.run.run_processes", process)
    args = arguments("--num-machines=2", "--dist-url=tcp://other:1")
    run(args)
    assert started == [0, 1]
    assert not list(find_left_over(_output(args)))  # the lock is no half-written file
    args.machine_rank = 0
    run(args)
    assert started == [0, 1, 0]


def test_a_file_system_without_locks_is_trained_on(arguments, monkeypatch):
    def refuse(file, flags):
        raise LockException("no locks available")

    monkeypatch.setattr("portalocker.lock", refuse)
    started = []
    monkeypatch.setattr("nucdet.train.run.run_processes", lambda *given: started.append(given))
    run(arguments())
    assert started


def test_the_same_seed_gives_the_same_weights(arguments):
    weights = []
    for _ in range(2):
        args = arguments("SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()")
        run(args)
        weights.append(_weights(_output(args) / "model_final.pth"))
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_evaluations_do_not_change_the_training(arguments):
    """Mask R-CNN samples anchors at random in each iteration."""
    weights = []
    for keys in (
        ("DATASETS.TEST", "()"),
        ("TEST.EVAL_PERIOD", "1", "TEST.VALIDATION_LOSS", "True"),
    ):
        args = arguments("SOLVER.MAX_ITER", "2", *keys)
        run(args)
        weights.append(_weights(_output(args) / "model_final.pth"))
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


@pytest.mark.parametrize("optimizer", ["ADAMW", "SGD"])  # the published recipe has SGD
def test_stages_train_their_parts_and_no_others(arguments, optimizer):
    heads = "{'until': 2, 'train': ['roi_heads']}"
    stages = f"[{heads}, {{'until': 4, 'train': ['backbone.fpn_', 'roi_heads']}}]"
    args = arguments("SOLVER.STAGES", stages, "SOLVER.OPTIMIZER", optimizer, "DATASETS.TEST", "()")
    cfg = prepare(args)
    trainer = NucleusTrainer(cfg)
    start = {k: v.clone() for k, v in trainer.model.named_parameters()}
    changed = []

    def after_step(_):
        now = dict(trainer.model.named_parameters())
        changed.append({k.split(".")[0] for k in now if not torch.equal(now[k], start[k])})

    trainer.register_hooks([hooks.CallbackHook(after_step=after_step)])
    trainer.train()
    assert changed == [
        {"roi_heads"},
        {"roi_heads"},
        {"backbone", "roi_heads"},
        {"backbone", "roi_heads"},
    ]
    bottom_up = [n for n, p in trainer.model.named_parameters() if "bottom_up" in n]
    assert all(torch.equal(dict(trainer.model.named_parameters())[n], start[n]) for n in bottom_up)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{'until': 2, 'train': ['roi_head_']}]", "'roi_head_' is the start of no"),
        ("[{'until': 2}]", "expected"),
        ("[{'until': 2, 'train': []}, {'until': 1, 'train': []}]", "must ascend"),
        ("[{'until': '2', 'train': []}]", "must ascend, as numbers of iterations; found '2'"),
    ],
)
def test_wrong_stages_are_one_line(arguments, stages, message):
    with pytest.raises(InputError, match=message):
        run(arguments("SOLVER.STAGES", stages))


def test_wrong_factors_of_the_rate_are_one_line(arguments):
    with pytest.raises(InputError, match=r"LR_FACTORS is \[\['roi_heads', 'x'\]\], expected"):
        run(arguments("SOLVER.LR_FACTORS", "[['roi_heads', 'x']]"))


def test_images_without_any_nucleus_are_one_line(arguments, registered, monkeypatch, tmp_path):
    unlabelled = OwnData("unlabelled", test=True, root=tmp_path)
    convert_labels(registered / "synthetic/images", None, unlabelled)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    args = arguments("DATASETS.TRAIN", "('unlabelled_test',)", "DATASETS.TEST", "()")
    with pytest.raises(InputError, match="unlabelled_test: none of the images has a nucleus"):
        run(args)


def test_images_that_were_moved_are_found_before_the_training(
    arguments, registered, monkeypatch, tmp_path
):
    shutil.copytree(registered / "synthetic", tmp_path / "synthetic")
    for number in ("00003", "00004"):
        (tmp_path / f"synthetic/images/{number}.png").unlink()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    args = arguments("DATASETS.TEST", "()")
    with pytest.raises(FileNotFoundError, match=r"0000[34].png: not found, one of [12] missing"):
        run(args)
    assert not (_output(args) / "losses.csv").exists()


def test_early_stop_ends_a_training_that_no_longer_improves(arguments, score_as):
    score_as(10, 30, 20, 25, 90)
    args = arguments(
        "TEST.EVAL_PERIOD", "1", "SOLVER.EARLY_STOP_PATIENCE", "2", "SOLVER.MAX_ITER", "9"
    )
    run(args)
    output = _output(args)
    assert pd.read_csv(output / "evaluation.csv")["kaggle/mAP"].tolist() == [10, 30, 20, 25]
    best = torch.load(output / "model_best.pth", weights_only=True)
    assert (best["value"], best["iteration"]) == (30, 1)
    assert (output / "last_checkpoint").read_text() == "model_final.pth"


def test_validation_loss_changes_nothing(arguments):
    outputs = []
    for validation in ("False", "True"):
        args = arguments(
            "TEST.EVAL_PERIOD", "1", "SOLVER.MAX_ITER", "2", "TEST.VALIDATION_LOSS", validation
        )
        run(args)
        outputs.append(_weights(_output(args) / "model_final.pth"))
    assert all(torch.equal(outputs[0][k], outputs[1][k]) for k in outputs[0])


def test_averaged_weights_are_what_is_evaluated_and_saved(arguments):
    args = arguments("TEST.EVAL_PERIOD", "2", "SOLVER.MAX_ITER", "2", "SOLVER.EMA_DECAY", "0.9")
    run(args)
    output = _output(args)
    final = torch.load(output / "model_final.pth", weights_only=False)
    training = final["trainer"]["hooks"]["WeightAveraging"]
    assert training["updates"] == 2
    best = _weights(output / "model_best.pth")
    name = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(best[name], final["model"][name])
    assert not torch.equal(best[name], training["weights"][name])


def _trained(arguments) -> tuple[Path, Path]:
    """Weights that find something after a second of training, and their output folder."""
    args = arguments("SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()")
    run(args)
    return _output(args) / "model_final.pth", _output(args)


def test_an_evaluation_leaves_the_config_of_the_training_as_it_is(arguments, tmp_path):
    weights, output = _trained(arguments)
    before = (output / "config.yaml").read_bytes()
    trial = ("--eval-only", "MODEL.WEIGHTS", str(weights))
    trial += ("TEST.OVERLAP_ELIMINATION.ENABLED", "False")
    run(arguments(*trial))
    assert (output / "config.yaml").read_bytes() == before
    run(arguments(*trial, "OUTPUT_DIR", str(tmp_path / "raw")))
    assert not load_config(tmp_path / "raw/config.yaml").TEST.OVERLAP_ELIMINATION.ENABLED


def test_evaluation_with_several_views_of_each_image(arguments):
    weights, output = _trained(arguments)
    tables = []
    for enabled in ("False", "True"):
        run(
            arguments(
                "--eval-only",
                "MODEL.WEIGHTS", str(weights),
                "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.05",
                "TEST.AUG.ENABLED", enabled,
                "TEST.AUG.ZOOMS", "(1.0, 1.5)",
            )
        )  # fmt: skip
        folder = output / "inference" / "synthetic_val"
        tables.append(json.loads((folder / "coco_instances_results.json").read_text()))
    assert tables[0] and tables[1] and tables[0] != tables[1]


def test_two_processes_find_the_same_as_one(arguments, tmp_path):
    weights, output = _trained(arguments)
    results = {}
    for processes in (1, 2):
        args = arguments(
            "--eval-only",
            "MODEL.WEIGHTS", str(weights),
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.05",
        )  # fmt: skip
        args.num_gpus = processes
        run(args)
        folder = output / "inference" / "synthetic_val"
        predictions = json.loads((folder / "coco_instances_results.json").read_text())
        order = sorted(predictions, key=lambda p: (p["image_id"], -p["score"], p["bbox"]))
        table = pd.read_csv(folder / "kaggle_per_image.csv").sort_values("id")
        results[processes] = (order, table.to_csv(index=False))
    assert results[1][0]
    assert results[1] == results[2]

    # and the written file scores the same outside of training
    scores = tmp_path / "scores.json"
    truth = MetadataCatalog.get("synthetic_val").json_file
    evaluate_predictions(truth, folder / "coco_instances_results.json", json_file=scores)
    kaggle = json.loads(scores.read_text())["kaggle"]["mAP"]
    assert kaggle == pytest.approx(table["score"].mean(), abs=1e-3)


def test_two_processes_train_together(arguments):
    heads = "{'until': 1, 'train': ['roi_heads']}"
    stages = f"[{heads}, {{'until': 2, 'train': ['backbone', 'roi_heads']}}]"
    args = arguments("SOLVER.MAX_ITER", "2", "SOLVER.STAGES", stages, "SOLVER.EMA_DECAY", "0.9")
    args.num_gpus = 2
    run(args)
    output = _output(args)
    assert pd.read_csv(output / "losses.csv")["iteration"].tolist() == [0, 1]
    assert len(pd.read_csv(output / "evaluation.csv")) == 1
    model = NucleusTrainer.build_model(prepare(args))
    NucleusCheckpointer(model).load(str(output / "model_final.pth"))


def test_bad_input_is_found_before_anything_runs(arguments, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"'dsb2018_trian' is not registered"):
        run(arguments("DATASETS.TRAIN", "('dsb2018_trian',)"))
    with pytest.raises(InputError, match=r"SOLVER\.OPTIMIZER is 'LION'"):
        run(arguments("SOLVER.OPTIMIZER", "LION"))
    with pytest.raises(InputError, match="names no trained weights"):
        run(arguments("--eval-only"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run(arguments("OUTPUT_DIR", str(tmp_path / "file" / "below")))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"instances_train\.json: not found"):
        run(arguments())


@pytest.mark.parametrize("name", ["SGD", "ADAM", "ADAMW"])
def test_each_optimizer_trains(arguments, name):
    trainer = NucleusTrainer(prepare(arguments("SOLVER.OPTIMIZER", name, "DATASETS.TEST", "()")))
    assert name.lower() in type(trainer.optimizer).__name__.lower()
    trainer.train()


@pytest.mark.parametrize("iterations, factors", [(8, [1, 1, 0.1, 0.1, 0.01, 0.01]), (2, [1, 0.1])])
def test_equal_steps_of_the_rate(arguments, iterations, factors):
    pairs = ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.WARMUP_ITERS", "0"]
    pairs += ["SOLVER.NUM_DECAYS", "3", "SOLVER.GAMMA", "0.1", "SOLVER.BASE_LR", "1.0"]
    cfg = prepare(arguments(*pairs, "SOLVER.MAX_ITER", str(iterations)))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = NucleusTrainer.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in factors:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(factors)


def test_a_step_of_the_rate_at_the_last_iteration_changes_nothing(arguments):
    pairs = ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", "(2, 4)"]
    cfg = prepare(arguments(*pairs, "SOLVER.MAX_ITER", "4", "SOLVER.WARMUP_ITERS", "0"))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = NucleusTrainer.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1, 1, cfg.SOLVER.GAMMA, cfg.SOLVER.GAMMA])


def test_a_mistake_that_another_process_meets_is_its_own_line(arguments, registered, tmp_path):
    args = arguments("--eval-only", "MODEL.WEIGHTS", str(tmp_path / "none.pth"))
    args.num_gpus = 2
    with pytest.raises(OSError, match=r"none\.pth.*no such file"):
        run(args)


def test_three_checkpoints_stay_however_often_a_training_goes_on(arguments):
    keys = ("DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.MAX_ITER")
    for iterations in ("2", "4"):
        args = arguments("--resume", *keys, iterations)
        run(args)
    names = sorted(path.name for path in _output(args).glob("model_0*.pth"))
    assert names == ["model_0000001.pth", "model_0000002.pth", "model_0000003.pth"]


@pytest.mark.parametrize(
    ("device", "computes_bfloat16", "expected"),
    [
        ("cuda", False, AMPTrainer),
        ("cpu", True, Bfloat16Trainer),
        ("cpu", False, SimpleTrainer),
        ("mps", True, SimpleTrainer),  # Detectron2's AMPTrainer is for CUDA alone
    ],
)
def test_mixed_precision_is_for_devices_that_have_it(
    arguments, monkeypatch, device, computes_bfloat16, expected
):
    cfg = prepare(arguments())
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    monkeypatch.setattr("nucdet.train.trainer.computes_bfloat16", lambda: computes_bfloat16)
    assert _mixed_precision_trainer(cfg) is expected


@pytest.mark.parametrize(
    "config",
    [
        "nuclei/center_voting_lite0.yaml",
        "DSB2018/crop_rcnn.yaml",
        "DSB2018/mask_rcnn_lite0_FPN_robust.yaml",
        "DSB2018/unet_small.yaml",
    ],
)
def test_a_worker_that_is_not_forked_can_be_given_its_images(
    config, repository, registered, tiny_overrides
):
    # macOS and Windows spawn the workers of a data loader, which sends them all this
    cfg = load_config(str(repository / "configs" / config), tiny_overrides)
    for loader in (
        NucleusTrainer.build_train_loader(cfg),
        NucleusTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0]),
    ):
        while not isinstance(loader, DataLoader):  # Detectron2 wraps that of training
            loader = loader.dataset
        sent = ForkingPickler.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn))
        dataset, _, _ = pickle.loads(sent)
        assert next(iter(dataset))["image"].dtype == torch.uint8
