from __future__ import annotations

from itertools import product

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from nucdet.config import load_config
from nucdet.errors import InputError
from nucdet.modeling.mask_rcnn.augmented_inference import AugmentedRCNN, View

VIEWS = [View(*v) for v in product((0.5, 1.0, 2.0), (False, True), range(4))]


def _image() -> torch.Tensor:
    """A bright rectangle at rows 8-19, columns 20-27 of 40 × 60."""
    image = torch.zeros(3, 40, 60)
    image[:, 8:20, 20:28] = 100
    return image


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_boxes_move_with_pixels_and_back(view):
    seen = view.image(_image())
    box = torch.tensor([[20.0, 8.0, 28.0, 20.0]])
    moved = view.boxes(box, (40, 60))
    rows, columns = torch.nonzero(seen[0] > 50, as_tuple=True)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert moved[0].tolist() == [int(v) for v in found]
    assert torch.allclose(view.boxes_back(moved, (40, 60)), box)


@pytest.mark.parametrize("view", VIEWS[:8], ids=str)
def test_masks_come_back_as_they_lie_in_the_image(view):
    mask = torch.rand(2, 1, 7, 7)
    seen = torch.rot90(mask.flip(-1) if view.mirrored else mask, view.turns, (-2, -1))
    assert torch.equal(view.masks_back(seen), mask)
    # and the image itself is turned the same way
    still = View(1.0, view.mirrored, view.turns).image(mask[0])
    assert torch.equal(still, seen[0])


@pytest.fixture(scope="module")
def cfg(repository):
    return load_config(
        repository / "configs/DSB2018/mask_rcnn_lite0_FPN.yaml",
        ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.3"],
    )


@pytest.fixture(scope="module")
def model(cfg):
    torch.manual_seed(0)
    return build_model(cfg).eval()


def _found(*boxes_and_scores):
    result = Instances((40, 60))
    result.pred_boxes = Boxes(torch.tensor([b for b, _ in boxes_and_scores]).reshape(-1, 4))
    result.scores = torch.tensor([s for _, s in boxes_and_scores])
    result.pred_classes = torch.zeros(len(boxes_and_scores), dtype=torch.int64)
    return result


def test_views_vote_and_their_boxes_are_averaged_by_score(cfg, model):
    augmented = AugmentedRCNN.from_config(cfg, model)
    both = _found(([0.0, 0.0, 10.0, 10.0], 0.9), ([30.0, 30.0, 40.0, 40.0], 0.5))
    one = _found(([0.0, 0.0, 12.0, 10.0], 0.3))
    joined = augmented._join([both, one], (40, 60))
    # the second box: 0.25 in the mean, below the threshold
    assert joined.scores.tolist() == pytest.approx([0.6])
    assert joined.pred_boxes.tensor[0].tolist() == pytest.approx([0, 0, 10.5, 10])
    assert len(augmented._join([_found(), _found()], (40, 60))) == 0


def test_one_view_is_the_model_itself(cfg, model):
    inputs = [{"image": 2 * _image(), "height": 80, "width": 120}]
    augmented = AugmentedRCNN(
        model, [View(1.0, False, 0)], score_threshold=0.3, nms_threshold=0.3, max_detections=500
    )
    with torch.no_grad():
        plain, same = model(inputs)[0]["instances"], augmented(inputs)[0]["instances"]
    assert len(plain) > 0
    assert torch.allclose(plain.scores, same.scores)
    assert torch.allclose(plain.pred_boxes.tensor, same.pred_boxes.tensor, atol=1e-3)
    assert [m.sum() for m in plain.pred_masks] == pytest.approx(
        [m.sum() for m in same.pred_masks], abs=2
    )
    assert model.roi_heads.mask_on and model.roi_heads.box_predictor.test_score_thresh == 0.3


def test_nothing_found_is_no_error(cfg, model):
    augmented = AugmentedRCNN(
        model, VIEWS[:2], score_threshold=0.999, nms_threshold=0.3, max_detections=500
    )
    with torch.no_grad():
        result = augmented([{"image": torch.zeros(3, 64, 64)}])[0]["instances"]
    assert len(result) == len(result.pred_masks) == 0


def test_mistakes_are_named(cfg, model):
    other = cfg.clone()
    other.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    with pytest.raises(InputError, match=r"TEST\.AUG\.ENABLED needs .*found GeneralizedRCNN"):
        AugmentedRCNN.from_config(other, build_model(other))
    other.TEST.AUG.ZOOMS = (0.0,)
    with pytest.raises(InputError, match=r"TEST\.AUG\.ZOOMS"):
        AugmentedRCNN.from_config(other, model)
