"""The sheet that shows what each part of CropRCNN makes of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks
from nucdet.visualization.colors import FALSE, MATCHED, MISSED
from nucdet.visualization.stage_images import Stages, draw_stages, visualize_stages

SIDE = 480  # large enough to be shown as it is
TITLE, GAP = 28, 8


def boxes(*corners) -> Boxes:
    return Boxes(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4))


def panel(sheet: np.ndarray, number: int) -> np.ndarray:
    y, x = divmod(number, 3)
    top, left = y * (SIDE + TITLE + GAP) + TITLE, x * (SIDE + GAP)
    return sheet[top : top + SIDE, left : left + SIDE]


def where(image: np.ndarray, color) -> list[int]:
    """The box (x0, y0, x1, y1) around all pixels of a color; [] without any."""
    rows, columns = np.nonzero((image == color).all(axis=2))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else []


def test_each_panel_shows_its_stage():
    kept = Instances((SIDE, SIDE))
    kept.pred_boxes = boxes((100, 120, 140, 180))
    kept.pred_masks = torch.ones(1, 1, 32, 32)
    stages = Stages(
        anchors=boxes((10, 20, 30, 50)),
        proposals=boxes((12, 22, 32, 52), (40, 40, 60, 60)),
        after_nms=boxes((100, 120, 140, 180), (300, 300, 340, 350)),
        kept=kept,
        crops=torch.full((1, 1, 32, 32), 0.8),
    )
    image = np.full((SIDE, SIDE, 3), 150, np.uint8)
    dense = np.zeros((1, SIDE, SIDE), bool)
    dense[0, 120:180, 100:140] = True
    sheet = draw_stages(image, stages, CroppedMasks.from_dense(dense))
    assert sheet.shape == (2 * (SIDE + TITLE) + GAP, 3 * SIDE + 2 * GAP, 3)
    assert where(panel(sheet, 0), MISSED) == [10, 20, 30, 50]
    assert where(panel(sheet, 1), MISSED) == [12, 22, 60, 60]
    assert where(panel(sheet, 2), MATCHED) == [100, 120, 340, 350]
    assert where(panel(sheet, 3), MATCHED) == [100, 120, 140, 180]
    assert where(panel(sheet, 3), FALSE) == [300, 300, 340, 350]  # dropped by the filter
    crops = panel(sheet, 4)
    assert (crops[:48, :48] == 204).all()  # 0.8
    assert (crops[50:98, :48] == 255).all()  # its mask
    outside = panel(sheet, 5)[~dense[0]]
    assert (np.abs(outside.astype(int) - 150) < 3).mean() > 0.99
    assert not np.array_equal(panel(sheet, 5)[dense[0]], image[dense[0]])


def test_a_image_in_which_nothing_is_found():
    kept = Instances((60, 60))
    kept.pred_boxes, kept.pred_masks = boxes(), torch.zeros(0, 1, 32, 32)
    nothing = Stages(boxes(), boxes(), boxes(), kept, torch.zeros(0, 1, 32, 32))
    image = np.zeros((60, 60, 3), np.uint8)
    sheet = draw_stages(image, nothing, CroppedMasks.from_dense(np.zeros((0, 60, 60), bool)))
    assert sheet.shape[0] > 2 * 480  # small images are enlarged


def test_another_model_is_one_line(repository):
    config = repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"
    with pytest.raises(InputError, match="stages are those of 'CropRCNN'"):
        visualize_stages(config, ["MODEL.DEVICE", "cpu"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.WEIGHTS", ""], "names no trained weights"),
        (["MODEL.WEIGHTS", "none.pth"], "MODEL.WEIGHTS none.pth: no such file; give those"),
        (["MODEL.ROI_HEADS.NAME", "Mine"], "MODEL.ROI_HEADS.NAME is 'Mine', which does not exist"),
    ],
)
def test_a_network_that_cannot_be_drawn_is_one_line(repository, overrides, message):
    config = repository / "configs/DSB2018/crop_rcnn.yaml"
    with pytest.raises((InputError, FileNotFoundError), match=message):
        visualize_stages(config, overrides)


def test_the_weights_that_are_named_are_drawn_with_the_config_of_a_training(repository, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(load_config(repository / "configs/DSB2018/crop_rcnn.yaml").dump())
    tmp_path.joinpath("model_final.pth").touch()
    other = tmp_path / "other" / "model.pth"
    other.parent.mkdir()
    other.touch()
    # it is empty, which only shows when it is read
    with pytest.raises(InputError, match=f"{other}: .*(damaged|no checkpoint|not a)"):
        visualize_stages(config, ["MODEL.WEIGHTS", str(other), "MODEL.DEVICE", "cpu"])
