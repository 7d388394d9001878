"""Every yaml loads, builds, and runs forward and backward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

import nucdet  # noqa: F401  (fills the registries)
from nucdet.config import load_config
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.train.trainer import NucleusTrainer

CONFIGS = sorted((Path(__file__).parent.parent / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_config_builds_trains_and_predicts(path, registered, tiny_overrides):
    from detectron2.data import DatasetCatalog

    cfg = load_config(path, tiny_overrides)
    if cfg.MODEL.SEMANTIC.RESIZE:
        cfg.MODEL.SEMANTIC.RESIZE = 64
    if cfg.MODEL.SEGMENTATION.NETWORK == "FCN8s":
        cfg.MODEL.SEGMENTATION.CHANNELS = (8, 8)  # not 120 million parameters
    torch.manual_seed(0)
    model = build_model(cfg)
    records = DatasetCatalog.get("synthetic_train")[:2]

    if any(True for _ in model.parameters()):  # the classical baseline has nothing to train
        mapper = NucleusDatasetMapper(cfg, augment=True)
        _check_gradients(model, [mapper(record) for record in records])

    model.eval()
    mapper = NucleusDatasetMapper(cfg, augment=False)
    with torch.no_grad():
        outputs = model([mapper(record) for record in records])
    for output, record in zip(outputs, records, strict=True):
        instances = output["instances"]
        assert instances.image_size == (record["height"], record["width"])
        assert {"pred_boxes", "pred_masks", "pred_classes", "scores"} <= set(instances.get_fields())


def _check_gradients(model, inputs):
    with EventStorage():
        losses = model(inputs)
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    parameters = dict(model.named_parameters())
    trained = {name for name, p in parameters.items() if p.requires_grad}
    reached = {name for name, p in parameters.items() if p.grad is not None}
    assert reached == trained


def test_the_mask_rcnn_of_report_003_learns_at_its_rate_from_anchors_inside_the_image(repository):
    cfg = load_config(repository / "configs/DSB2018/mask_rcnn_R_101_FPN.yaml")
    optimizer = NucleusTrainer.build_optimizer(cfg, torch.nn.Linear(1, 1))
    scheduler = NucleusTrainer.build_lr_scheduler(cfg, optimizer)
    for _ in range(3):
        assert {group["lr"] for group in optimizer.param_groups} == {1e-3}
        optimizer.step()
        scheduler.step()
    assert cfg.MODEL.RPN.BOUNDARY_THRESH == 0


def test_dense_images_fit_under_the_cap_of_detections():
    for path in CONFIGS:
        assert load_config(path).TEST.DETECTIONS_PER_IMAGE >= 500, path


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.NO_SUCH_KEY", "1"], "NO_SUCH_KEY"),
        (["SOLVER.BASE_LR", "fast"], "BASE_LR"),
        (["SOLVER.BASE_LR"], "the command line"),
        (["SOLVER.BASE_LT", "1"], r"key: SOLVER.BASE_LT \(there is BASE_LR, BASE_LR_END"),
        (["MODLE.WEIGHTS", ""], r"key: MODLE.WEIGHTS \(there is MODEL\)"),
        (
            ["DATASETS.TRAIN", "mine"],
            r"TRAIN is mine \(str\); expected tuple, as \('mine',\)",
        ),
        (["MODEL.WEIGHTS", "3"], r"WEIGHTS is 3 \(int\); expected str"),
        (["SOLVER", "3"], "SOLVER is 3; expected keys below it"),
        (["TEST.EVALUATORS", "(['coco'],)"], "expected names"),
        (["SOLVER.STEPS", "('a',)"], "STEPS is .*expected numbers of iterations"),
        (["MODEL.PIXEL_MEAN", "['a', 'b', 'c']"], "PIXEL_MEAN"),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", "10"],
            "BASE_LR_END is 10; expected at most SOLVER.BASE_LR",
        ),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR", "0"],
            "BASE_LR is 0; expected a rate above 0",
        ),
        (["SOLVER.WARMUP_METHOD", "slow"], "expected one of linear, constant"),
        (["SOLVER.WARMUP_FACTOR", "-1"], "WARMUP_FACTOR is -1.0; expected a share"),
        (["SOLVER.WEIGHT_DECAY", "-1"], "WEIGHT_DECAY"),
        (["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "all"], "expected one of value, norm"),
        (["DATALOADER.SAMPLER_TRAIN", "Mine"], "expected one of TrainingSampler, Rep"),
        (["DATALOADER.BALANCE_KINDS", "1e9"], "BALANCE_KINDS"),
        (["OUTPUT_DIR", " "], "expected a folder"),
        (["INPUT.MIN_SIZE_TRAIN", "()"], "expected one or more numbers of pixels"),
        (["INPUT.MIN_SIZE_TRAIN", "('a',)"], "expected one or more numbers of pixels"),
        (["INPUT.AUGMENTATION.SCALE_JITTER", "(1,)"], "the least and the largest factor"),
        (["INPUT.AUGMENTATION.SCALE_JITTER", "(0, 1)"], "the least and the largest factor"),
        (["INPUT.AUGMENTATION.GAMMA", "0"], "GAMMA is 0.0; expected an exponent, above 0"),
        (["INPUT.AUGMENTATION.STAIN.PROB", "2"], r"STAIN\.PROB is 2.0; expected a share, 0 to 1"),
        (["INPUT.AUGMENTATION.ELASTIC.SIGMA", "0"], r"ELASTIC\.SIGMA"),
        (["INPUT.AUGMENTATION.BLUR.SIGMA", "-1"], r"BLUR\.SIGMA"),
        (["INPUT.AUGMENTATION.JPEG.QUALITY", "0"], r"JPEG\.QUALITY is 0; .* 1 to 95"),
        (["INPUT.AUGMENTATION.JPEG.CONTRAST", "0"], r"JPEG\.CONTRAST is 0.0; .* 0.01 to 1"),
        (["INPUT.AUGMENTATION.JPEG.ZOOM", "0.5"], r"JPEG\.ZOOM is 0.5; .* 1 to 16"),
        (["MODEL.PIXEL_MEAN", "[0]"], "PIXEL_MEAN has 1 numbers and MODEL.PIXEL_STD 3"),
        (["MODEL.BACKBONE.FREEZE_AT", "9"], "FREEZE_AT"),
        (["MODEL.SEGMENTATION.CHANNELS", "(0, 4)"], "1 or more, for each level"),
        (["MODEL.SEGMENTATION.CLASS_WEIGHTS", "('a', 'b', 'c')"], "for each class"),
        (["MODEL.SEPARATION.HYSTERESIS", "('a', 'b')"], "HYSTERESIS"),
        (
            [
                "MODEL.META_ARCHITECTURE",
                "SemanticInstanceSegmentor",
                "MODEL.SEMANTIC.RESIZE",
                "128",
                "INPUT.RESIZE_RULE",
                "diameter",
            ],
            "RESIZE is 128: every image is predicted at that size",
        ),
        (["MODEL.CENTER_VOTING.SIGMA", "0"], "SIGMA is 0.0; expected a number of pixels, above 0"),
    ],
)
def test_wrong_overrides_are_one_line(overrides, message):
    with pytest.raises(InputError, match=message):
        load_config(CONFIGS[0], overrides)


def test_wrong_files_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    for text in ("MODEL: [1,", "MODEL:\n  NO_SUCH: 1\n", "[1, 2]", "_BASE_: missing.yaml"):
        broken.write_text(text)
        with pytest.raises((InputError, FileNotFoundError)):
            load_config(broken)
