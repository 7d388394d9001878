"""One number that sets the score of every system: TEST.SCORE_THRESHOLD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.postprocessing.overlap import OverlapElimination


@pytest.mark.parametrize(
    "config", ["DSB2018/mask_rcnn_lite0_FPN", "nuclei/center_voting_lite0", "DSB2018/unet_lite0"]
)
@pytest.mark.parametrize("threshold, left", [("0", 4), ("0.35", 3), ("0.8", 1), ("0.95", 0)])
def test_it_is_the_only_rule_by_score(repository, spans, config, threshold, left):
    path = repository / f"configs/{config}.yaml"
    cfg = load_config(path, ["TEST.SCORE_THRESHOLD", threshold])
    assert float(threshold) == cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST
    masks = spans((0, 0, 30), (1, 0, 29), (2, 0, 28), (3, 0, 27))
    found = Instances(masks.image_size, pred_masks=masks)
    found.scores = torch.from_numpy(np.array([0.3, 0.4, 0.8, 0.9]))
    found.pred_classes = torch.zeros(4, dtype=torch.int64)
    assert len(OverlapElimination(cfg)(found)) == left


def test_every_class_has_it(repository):
    cfg = load_config(repository / "configs/Sartorius/mask_rcnn_R_50_FPN.yaml")
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 3 and cfg.TEST.SCORE_THRESHOLD is None
    changed = load_config(
        repository / "configs/Sartorius/mask_rcnn_R_50_FPN.yaml", ["TEST.SCORE_THRESHOLD", "0.3"]
    )
    assert changed.TEST.OVERLAP_ELIMINATION.CLASS_SCORE_THRESHOLDS == (0.3, 0.3, 0.3)


@pytest.mark.parametrize("wrong", ["1", "-0.1", "nan", "high", "True"])
def test_a_mistake_is_named(wrong):
    with pytest.raises(InputError, match=rf"score threshold .* is .*{wrong}.*; expected a number"):
        load_config(overrides=["TEST.SCORE_THRESHOLD", wrong])
