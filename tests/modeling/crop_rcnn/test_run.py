"""CropRCNN through the command line's own entry: rates of its parts, training, evaluation."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
import torch

from nucdet.commands.train import argument_parser
from nucdet.config import load_config
from nucdet.modeling.crop_rcnn.architecture import PARTS
from nucdet.train.run import run
from nucdet.train.trainer import NucleusTrainer
from nucdet.visualization.stage_images import visualize_stages

LOSSES = {"rpn_objectness", "rpn_box", "filter", "mask"}
TINY = [
    "MODEL.CROP_RCNN.BACKBONE_CHANNELS", "(8, 8, 8)",  # see tests/modeling/conftest.py
    "MODEL.CROP_RCNN.UNET_CHANNELS", "(4, 4, 4, 4)",
    "MODEL.RPN.CONV_DIMS", "[8]",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0",
    "MODEL.NUCLEUS_FILTER.MODE", "rescore",  # which drops nothing
    "SOLVER.AMP.ENABLED", "False",
]  # fmt: skip


@pytest.fixture
def pairs(registered, tiny_overrides) -> list[str]:
    return [*tiny_overrides, *TINY]


def start(config: Path, *flags_and_pairs: str) -> None:
    run(argument_parser().parse_args(["--config-file", str(config), *flags_and_pairs]))


@pytest.mark.parametrize(
    ("config", "a", "b"), [("crop_rcnn", 1e-4, 0.1), ("crop_rcnn_filter_fast_decay", 1e-2, 0.01)]
)
def test_each_part_has_its_rate_and_r_is_a_times_b_to_the_epoch(repository, pairs, config, a, b):
    """Over all iterations, the one after the last included."""
    cfg = load_config(
        repository / f"configs/DSB2018/{config}.yaml", [*pairs, "SOLVER.MAX_ITER", "8"]
    )
    model = NucleusTrainer.build_model(cfg)
    optimizer = NucleusTrainer.build_optimizer(cfg, model)
    scheduler = NucleusTrainer.build_lr_scheduler(cfg, optimizer)
    part_of = {
        id(p): part
        for name, p in model.named_parameters()
        for part, places in PARTS.items()
        if name.startswith(places)
    }
    for iteration in range(9):
        epoch = min(iteration // 2, 3)
        for group in optimizer.param_groups:
            parts = {part_of[id(p)] for p in group["params"]}
            rate = a if parts == {"filter"} else 10 * a
            assert parts and group["lr"] == pytest.approx(rate * b**epoch), (iteration, parts)
        if iteration < 8:
            optimizer.step()
            scheduler.step()


def test_train_evaluate_perturb_and_draw(repository, pairs, caplog):
    config = repository / "configs/DSB2018/crop_rcnn.yaml"
    output = Path(pairs[pairs.index("OUTPUT_DIR") + 1])
    start(config, *pairs)
    assert {f"loss_{part}" for part in ("rpn_cls", "rpn_loc", "filter", "mask")} <= set(
        pd.read_csv(output / "losses.csv")
    )
    weights = ["MODEL.WEIGHTS", str(output / "model_final.pth")]
    with caplog.at_level(logging.INFO):
        start(config, "--eval-only", "--perturb", "0.05,0.1", *pairs, *weights)
    table = pd.read_csv(output / "seed_0.05_0.1.csv").set_index("metric")
    assert {f"subsystems/{loss}" for loss in LOSSES} | {"kaggle/mAP"} <= set(table.index)
    assert (table.loc["subsystems/mask", ["clean", "perturbed"]] > 0).all()
    assert table.loc["subsystems/mask", "difference"] != 0
    assert "0.0983" in caplog.text and "filter_accuracy" in caplog.text  # the report's beside
    assert json.loads((output / "inference/synthetic_val/coco_instances_results.json").read_text())

    files = visualize_stages(config, [*pairs, *weights], output / "stages", num=2)
    assert len(files) == 2 and all(path.stat().st_size > 1000 for path in files)


def test_one_part_after_the_other_as_in_the_report(repository, pairs):
    """Filter, RPN from it, U-Net: each keeps what came before."""
    pairs = [*pairs, "DATASETS.TEST", "()"]
    folder = Path(pairs[pairs.index("OUTPUT_DIR") + 1])

    def train(part: str, *more: str) -> dict[str, torch.Tensor]:
        output = folder / part
        config = repository / f"configs/DSB2018/crop_rcnn_{part}.yaml"
        start(config, *pairs, *more, "OUTPUT_DIR", str(output))
        return torch.load(output / "model_final.pth", weights_only=False)["model"]

    first = train("filter")
    second = train("rpn", "MODEL.WEIGHTS", f"filter://{folder / 'filter/model_final.pth'}")
    third = train("mask", "MODEL.WEIGHTS", str(folder / "rpn/model_final.pth"))
    for name, value in third.items():
        is_mask = name.startswith(PARTS["mask"])
        is_filter = name.startswith(PARTS["filter"])
        assert is_mask or torch.equal(value, second[name])
        assert not is_filter or torch.equal(value, first[name])
    changed = {n for n, v in third.items() if not torch.equal(v, second[n])}
    assert changed and {n for n in changed if not n.startswith(PARTS["mask"])} == set()
