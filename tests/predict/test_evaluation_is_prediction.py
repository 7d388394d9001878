"""--eval-only and the evaluation during a training judge what Segmenter gives for a file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from nucdet.config import load_config
from nucdet.data.io.reading import read_image
from nucdet.evaluation.build import CleanedEvaluators
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.predict import Segmenter, network, planning
from nucdet.predict.evaluated import evaluated
from nucdet.predict.joining import resized
from nucdet.structures import CroppedMasks
from nucdet.train.trainer import NucleusTrainer

RCNN = "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"
UNET = "configs/DSB2018/unet_small.yaml"
VOTING = "configs/nuclei/center_voting_lite0.yaml"
CONFIGS = {
    # random masks are near 0.5, random scores near each other
    RCNN: {
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "0.0",
        "MODEL.ROI_MASK_HEAD.MASK_THRESH": "0.5",
        "TEST.OVERLAP_ELIMINATION.MIN_RELATIVE_SCORE": "0.0",
        "TEST.DETECTIONS_PER_IMAGE": "12",
    },
    UNET: {"MODEL.SEPARATION.THRESHOLD": "otsu", "INPUT.CROP.SIZE": "[64, 64]"},
    VOTING: {
        "MODEL.CENTER_VOTING.THRESHOLD": "0.45",
        "MODEL.CENTER_VOTING.MIN_VOTES": "1",
        "TEST.OVERLAP_ELIMINATION.CLASS_SCORE_THRESHOLDS": "()",
        "DATASETS.TRAIN": "('synthetic_train',)",
        "INPUT.CROP.SIZE": "[64, 64]",
    },
}
TILES = {"WHOLE_SIDE": 48, "TILE_SIDE": 44, "TILE_OVERLAP": 16}


class Recorder(DatasetEvaluator):
    """Keeps the instances of each image by its file."""

    def reset(self):
        self.found: dict[str, Instances] = {}

    def process(self, inputs, outputs):
        for entry, output in zip(inputs, outputs, strict=True):
            self.found[entry["file_name"]] = output["instances"]

    def evaluate(self):
        return {"recorded": {"images": len(self.found)}}


def recording(cfg) -> tuple[CleanedEvaluators, Recorder]:
    recorder = Recorder()
    return CleanedEvaluators([recorder], OverlapElimination(cfg)), recorder


def overrides_for(config: str, tiny_overrides: list[str]) -> list[str]:
    own = [text for pair in CONFIGS[config].items() for text in pair]
    return [*tiny_overrides, *own, "INPUT.NORMALIZE", "percentile"]


def assert_predicted(found: dict[str, Instances], segmenter: Segmenter, least: int) -> None:
    assert len(found) == 4
    for path, instances in found.items():
        predicted = segmenter.predict_file(path)
        assert len(instances) == len(predicted) >= least
        assert torch.equal(instances.scores, predicted.scores)
        assert torch.equal(instances.pred_boxes.tensor, predicted.pred_boxes.tensor)
        np.testing.assert_array_equal(instances.pred_masks.to_label_map(), predicted.label_map())


@pytest.fixture
def model_of(repository, registered, tiny_overrides, tmp_path):
    """The model of a config with random weights, and a Segmenter that loads the same."""

    def make(config: str, *more: str):
        overrides = [*overrides_for(config, tiny_overrides), *more]
        cfg = load_config(repository / config, overrides)
        torch.manual_seed(0)
        model = build_model(cfg)
        torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
        return cfg, model, Segmenter(repository / config, tmp_path / "model.pth", overrides, "cpu")

    return make


@pytest.mark.parametrize("case", ["whole", "tiled", "dense", "two views"])
@pytest.mark.parametrize("config", CONFIGS)
def test_eval_only(model_of, monkeypatch, config, case):
    if case == "two views" and config == UNET:
        more = ("MODEL.SEMANTIC.TTA", "flips")
    elif case == "two views" and config == VOTING:
        more = ("MODEL.CENTER_VOTING.VIEWS", "mirror")
    else:
        more = ("TEST.AUG.ENABLED", str(case == "two views"))
    cfg, model, segmenter = model_of(config, *more)
    if case == "tiled":
        for name, value in TILES.items():
            monkeypatch.setattr(planning, name, value)
    if case == "dense":  # an image that is worth three of the usual limits
        monkeypatch.setattr(network, "_USUAL_PIXELS", 64 * 64 // 3)
    evaluator, recorder = recording(cfg)
    assert NucleusTrainer.test(cfg, model, [evaluator])["recorded"]["images"] == 4
    assert_predicted(recorder.found, segmenter, least=1)
    counts = [len(instances) for instances in recorder.found.values()]
    if config == RCNN and case == "dense":
        assert max(counts) > int(CONFIGS[RCNN]["TEST.DETECTIONS_PER_IMAGE"])
    file = next(iter(recorder.found))
    tiles = segmenter._finder.plan(segmenter.open(file)[0]).tiles
    assert (len(tiles) > 1) == (case == "tiled")


@pytest.mark.parametrize("config", CONFIGS)
def test_the_hook_of_a_training(
    repository, registered, tiny_overrides, monkeypatch, tmp_path, config
):
    overrides = [*overrides_for(config, tiny_overrides), "SOLVER.MAX_ITER", "2"]
    overrides += ["TEST.EVAL_PERIOD", "1", "SOLVER.EMA_DECAY", "0.5"]
    overrides += ["TEST.BEST_METRIC", "recorded/images"]
    cfg = load_config(repository / config, overrides)
    Path(cfg.OUTPUT_DIR).mkdir()
    recorders = []

    def build_evaluator(cfg, dataset_name):
        evaluator, recorder = recording(cfg)
        recorders.append(recorder)
        return evaluator

    monkeypatch.setattr(NucleusTrainer, "build_evaluator", build_evaluator)
    trainer = NucleusTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert len(recorders) >= 2  # training went on after the first evaluation
    trained = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    segmenter = Segmenter(repository / config, trained, overrides, "cpu")
    assert_predicted(recorders[-1].found, segmenter, least=0)


def test_the_model_is_left_as_it_was(model_of):
    cfg, model, _ = model_of(RCNN)
    model.train().to(memory_format=torch.contiguous_format)
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    places = {name: (p.data_ptr(), p.stride()) for name, p in model.named_parameters()}
    with evaluated(cfg, model):
        assert not model.training
        heads = vars(model.roi_heads.mask_head)
        assert any(p.stride() != places[name][1] for name, p in model.named_parameters())
    assert "layers" not in heads and "forward" not in vars(model.roi_heads.box_head)
    assert places == {n: (p.data_ptr(), p.stride()) for n, p in model.named_parameters()}
    assert [module.training for module in model.modules()] == modes


def test_files_of_more_than_8_bits(model_of, registered, tmp_path, monkeypatch):
    cfg, model, segmenter = model_of(UNET)
    deep = []
    for record in DatasetCatalog.get("synthetic_val"):
        path = tmp_path / Path(record["file_name"]).name
        cv2.imwrite(str(path), read_image(record["file_name"]).astype(np.uint16)[..., 0] * 9 + 70)
        deep.append({**record, "file_name": str(path)})
    monkeypatch.setattr("detectron2.data.build.get_detection_dataset_dicts", lambda *a, **k: deep)
    evaluator, recorder = recording(cfg)
    NucleusTrainer.test(cfg, model, [evaluator])
    assert set(recorder.found) == {record["file_name"] for record in deep}
    assert_predicted(recorder.found, segmenter, least=1)


@pytest.mark.parametrize("tiles", [{}, TILES], ids=["whole", "tiled"])
def test_perturbed_sizes_are_scored_in_the_pixels_of_the_truth(model_of, monkeypatch, tiles):
    for name, value in tiles.items():
        monkeypatch.setattr(planning, name, value)
    cfg, model, _ = model_of(UNET, "TEST.PERTURBATION", "scale:2")
    evaluator, recorder = recording(cfg)
    NucleusTrainer.test(cfg, model, [evaluator])
    sizes = {instances.pred_masks.image_size for instances in recorder.found.values()}
    assert sizes == {(64, 64)}


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_resized_discs_stay_where_they_are(factor):
    def disc(scale: float) -> np.ndarray:
        y, x = (np.mgrid[: 60 * scale, : 40 * scale] + 0.5) / scale
        return (y - 31) ** 2 + (x - 14) ** 2 <= 10**2

    masks = CroppedMasks.from_dense(disc(1)[None])
    instances = Instances((60, 40), pred_masks=masks, scores=torch.ones(1))
    instances.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    size = (round(60 * factor), round(40 * factor))
    result = resized(instances, size)
    found, expected = result.pred_masks.to_label_map() > 0, disc(factor)
    assert found.shape == expected.shape
    union = np.count_nonzero(found | expected)
    assert np.count_nonzero(found & expected) > 0.93 * union
    np.testing.assert_allclose(result.pred_boxes.tensor[0], masks.boxes[0] * factor)
    assert resized(instances, (60, 40)) is instances


def test_what_vanishes_in_a_smaller_size_is_left_out():
    dense = np.zeros((2, 60, 40), bool)
    dense[0, 12:14, 12:14] = dense[1, 20:50, 10:30] = True
    masks = CroppedMasks.from_dense(dense)
    instances = Instances((60, 40), pred_masks=masks, scores=torch.tensor([0.9, 0.8]))
    instances.pred_boxes = Boxes(torch.from_numpy(masks.boxes))
    left = resized(instances, (6, 4))
    assert left.scores.tolist() == pytest.approx([0.8])
    assert left.pred_masks.boxes.tolist() == [[1, 2, 3, 5]]
