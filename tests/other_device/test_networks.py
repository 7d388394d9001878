"""Networks, training and prediction on a device beside the CPU, which is imitated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from nucdet.config import load_config
from nucdet.data.conversion.synthetic_images import draw_image
from nucdet.data.image_kinds import FLUORESCENCE
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.modeling.building import build_network
from nucdet.predict import Segmenter
from nucdet.predict.network import Network
from nucdet.train.trainer import NucleusTrainer

# PyTorch warns of tensors on "meta", which have no values; these have
pytestmark = pytest.mark.filterwarnings("ignore:.*non-meta parameter:UserWarning")

# one for each architecture, loss, head and way to separate nuclei
CONFIGS = (
    "nuclei/center_voting_lite0",
    "DSB2018/unet_lite0",
    "DSB2018/ensemble_unet_linknet",
    "DSB2018/mask_rcnn_lite0_FPN_robust",
    "DSB2018/mask_rcnn_lite0_FPN_crop_unet",
    "DSB2018/mask_rcnn_R_50_FPN",
    "DSB2018/crop_rcnn",
    "DSB2018/crop_rcnn_filter_arbitrary",
)


def test_the_imitation_refuses_what_a_gpu_refuses(other_device):
    layer, here = nn.Linear(3, 2).to(other_device), torch.rand(4, 3)
    there = here.to(other_device)
    assert (there[there > 0.5].cpu() == here[here > 0.5]).all()
    layer(there).sum().backward()
    assert layer.weight.grad.device.type == other_device
    with pytest.raises(RuntimeError, match="one device"):
        layer(here)
    with pytest.raises(RuntimeError, match="one device"):
        there[here[:, 0] > 0.5] += here[:1]
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()


@pytest.mark.parametrize("name", CONFIGS)
def test_networks_train_and_predict_there(
    name, repository, registered, tiny_overrides, other_device
):
    from detectron2.data import DatasetCatalog

    few = ["MODEL.DEVICE", other_device, "TEST.DETECTIONS_PER_IMAGE", "5"]
    cfg = load_config(repository / f"configs/{name}.yaml", tiny_overrides + few)
    torch.manual_seed(0)
    model = build_network(cfg)
    assert {p.device.type for p in model.parameters()} == {other_device}
    mapper = NucleusDatasetMapper(cfg, augment=True)
    optimizer = NucleusTrainer.build_optimizer(cfg, model)
    with EventStorage():
        losses = model([mapper(record) for record in DatasetCatalog.get("synthetic_train")[:2]])
    sum(losses.values()).backward()
    optimizer.step()
    image = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    for view in Network(cfg, model)([(image, 1.0), (image, 1.2)]):
        assert view.instances.image_size == (64, 80)
        assert view.instances.scores.device.type == "cpu"


def test_a_training_goes_on_on_another_device(repository, registered, tiny_overrides, other_device):
    config = repository / "configs/nuclei/center_voting_lite0.yaml"
    cfg = load_config(config, tiny_overrides)
    cfg.TEST.EVAL_PERIOD = cfg.SOLVER.CHECKPOINT_PERIOD = 2
    cfg.TEST.VALIDATION_LOSS, cfg.SOLVER.AMP.ENABLED = True, False
    for iterations, device in enumerate((other_device, "cpu", other_device)):
        cfg.MODEL.DEVICE, cfg.SOLVER.MAX_ITER = device, 2 * iterations + 2
        trainer = NucleusTrainer(cfg)
        trainer.resume_or_load(resume=iterations > 0)
        assert trainer.start_iter == 2 * iterations
        trainer.train()
        assert {p.device.type for p in trainer.model.parameters()} == {device}
        assert trainer.last_evaluation[0] == 2 * iterations + 2


def test_a_segmenter_finds_the_same_nuclei_there(monkeypatch, other_device):
    image, _ = draw_image(np.random.default_rng(0), 160, FLUORESCENCE, 15, 12)
    here = Segmenter(device="cpu", precision="float32").predict(image).label_map()
    monkeypatch.setattr("nucdet.predict.segmenter.find_device", lambda *_: other_device)
    there = Segmenter().predict(image).label_map()
    assert here.max() > 5 and (here != there).sum() < 10
