"""Draws the stages of CropRCNN side by side, from anchors to masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from torch import Tensor

from nucdet.config import load_config
from nucdet.data.datasets import check_datasets, register_datasets
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError
from nucdet.modeling.architecture_checks import check_architecture
from nucdet.modeling.building import build_network
from nucdet.modeling.checkpointing import NucleusCheckpointer
from nucdet.modeling.crop_rcnn.architecture import CropRCNN
from nucdet.modeling.crop_rcnn.crops import CROP_SIZE, cut_crops
from nucdet.modeling.weight_checks import check_trained
from nucdet.postprocessing.overlap import OverlapElimination
from nucdet.processes import find_device
from nucdet.progress import ProgressBar
from nucdet.visualization.colors import FALSE, MATCHED, MISSED, brighten
from nucdet.visualization.drawing import draw_instances
from nucdet.visualization.files import check_number, image_names, save_png

_BACKGROUND, _TEXT_COLOR = 24, (235, 235, 235)  # grey level, RGB
_GAP, _TITLE = 8, 28  # gap between panels and height of a title, pixels
_COLUMNS = 3
# small images are enlarged until their longer side has at least this many pixels
_PANEL_SIDE = 480
# side of a crop and of its mask in the panel of crops, pixels
_TILE = 48


class Stages(NamedTuple):
    """The results of all stages for one image; boxes are in pixels of the network's input.

    Attributes:
        anchors: the anchors with a score of at least ``test_score_thresh``.
        proposals: the same anchors after box regression, clipped to the image.
        after_nms: the proposals that remain after non-maximum suppression and whose scores are high
            enough.
        kept: the N detections that the nucleus filter keeps, with ``pred_boxes``, ``scores`` and
            ``pred_masks`` (N, 1, M, M), probabilities.
        crops: the crops of these detections, (N, 1, S, S) float32, 0–1.
    """

    anchors: Boxes
    proposals: Boxes
    after_nms: Boxes
    kept: Instances
    crops: Tensor


@torch.no_grad()
def find_stages(model: CropRCNN, inputs: dict[str, Any]) -> Stages:
    """Run the parts of a model on one image.

    Args:
        model: the model with its weights, in evaluation mode.
        inputs: from the mapper, with "image" (1, H, W) uint8.
    """
    images = model.preprocess_image([inputs])
    features = model.backbone(images.tensor)
    rpn, heads = model.proposal_generator, model.roi_heads
    anchors, logits, deltas = rpn.outputs(features)
    chosen = logits[0].sigmoid() >= heads.test_score_thresh
    proposals = Boxes(rpn.box2box_transform.apply_deltas(deltas[0][chosen], anchors.tensor[chosen]))
    proposals.clip(images.image_sizes[0])
    detected = heads.detections(rpn(images, features)[0])
    after_nms = detected[0].pred_boxes
    kept = heads.keep(features["image"], detected)
    crops = cut_crops(features["image"], [kept[0].pred_boxes.tensor], CROP_SIZE)
    kept = heads.forward_with_given_boxes(features, kept)
    return Stages(anchors[chosen], proposals, after_nms, kept[0], crops)


def draw_stages(image: np.ndarray, stages: Stages, masks: Any) -> np.ndarray:
    """Draw six panels: anchors, proposals before and after NMS, detections, crops, nuclei.

    In the fourth panel, detections that the filter dropped are red. In the fifth, each crop is
    shown above its mask.

    Args:
        image: (H, W, 3) uint8 RGB, of the size of the network's input.
        stages: the stages of that image.
        masks: the final masks, in a form that :meth:`CroppedMasks.from_any` accepts.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    image = brighten(image)
    zoom = max(1, -(-_PANEL_SIDE // max(image.shape[:2])))
    shown = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    filtered = _draw_boxes(shown, stages.after_nms, FALSE, zoom)
    kept = stages.kept
    panels = {
        f"anchors taken for nuclei: {len(stages.anchors)}": _draw_boxes(
            shown, stages.anchors, MISSED, zoom
        ),
        f"proposals before NMS: {len(stages.proposals)}": _draw_boxes(
            shown, stages.proposals, MISSED, zoom
        ),
        f"after NMS: {len(stages.after_nms)}": _draw_boxes(shown, stages.after_nms, MATCHED, zoom),
        f"kept by the filter: {len(kept)}": _draw_boxes(filtered, kept.pred_boxes, MATCHED, zoom),
        "crops, masks": _sheet_of_crops(stages.crops, kept.pred_masks, shown.shape[:2]),
        f"nuclei: {len(masks)}": draw_instances(image, masks, zoom=zoom),
    }
    return _compose(panels)


def visualize_stages(
    config_file: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    output_dir: str | os.PathLike[str] = "output/stages",
    num: int | None = None,
) -> list[Path]:
    """Draw the stages of CropRCNN for images of DATASETS.TEST, as ``<name of the image>.png``.

    Args:
        config_file: yaml of a CropRCNN.
        overrides: KEY VALUE pairs, including MODEL.WEIGHTS.
        output_dir: created if missing; files of an earlier run are overwritten.
        num: draw only the first ``num`` images of the data set; None: all.

    Returns:
        The paths of the images, in the order of the data set.

    Raises:
        InputError: ``num`` is below 1, the model is not a CropRCNN, the data set is unknown, no
            weights are named, or they do not fit the model.
        FileNotFoundError: the config, the weights or the data set do not exist.
    """
    check_number(num)
    cfg = load_config(config_file, overrides)
    model = _load(cfg, config_file, overrides)
    register_datasets()
    check_datasets(cfg.DATASETS.TEST)
    entries = [entry for name in cfg.DATASETS.TEST for entry in DatasetCatalog.get(name)][:num]
    mapper = NucleusDatasetMapper(cfg, augment=False)
    eliminate = OverlapElimination(cfg)
    files = []
    names = image_names([entry["file_name"] for entry in entries])
    for entry, name in zip(ProgressBar(entries, "drawing"), names, strict=True):
        inputs = mapper(entry)
        image = np.repeat(inputs["image"].numpy()[0, :, :, None], 3, axis=2)
        stages = find_stages(model, inputs)
        result = eliminate(model.to_original(stages.kept, {}))
        files.append(Path(output_dir, name))
        save_png(files[-1], draw_stages(image, stages, result.pred_masks))
    return files


def _load(cfg: CfgNode, config_file: str | os.PathLike[str], overrides: Sequence[str]) -> CropRCNN:
    if cfg.MODEL.META_ARCHITECTURE != "CropRCNN":
        raise InputError(
            f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; stages are those of "
            "'CropRCNN', see configs/DSB2018/crop_rcnn.yaml"
        )
    check_architecture(cfg)
    check_trained(cfg, config_file, overrides)
    cfg.MODEL.DEVICE = find_device(cfg.MODEL.DEVICE)
    model = build_network(cfg).eval()
    NucleusCheckpointer(model, complete=True).load(cfg.MODEL.WEIGHTS)
    return model


def _draw_boxes(
    image: np.ndarray, boxes: Boxes, color: tuple[int, int, int], zoom: int
) -> np.ndarray:
    image = image.copy()
    for x0, y0, x1, y1 in (boxes.tensor * zoom).round().int().tolist():
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, 1)
    return image


def _sheet_of_crops(crops: Tensor, masks: Tensor, size: tuple[int, int]) -> np.ndarray:
    """A panel of (height, width) with as many crops as fit, each above its mask."""
    sheet = np.full((*size, 3), _BACKGROUND, np.uint8)
    step = _TILE + 2
    places = [
        (y, x)
        for y in range(0, size[0] - 2 * step, 2 * step + 4)
        for x in range(0, size[1] - step, step)
    ]
    for (y, x), crop, mask in zip(places, crops[:, 0], masks[:, 0], strict=False):
        sheet[y : y + _TILE, x : x + _TILE] = brighten(_grey(crop))
        sheet[y + step : y + step + _TILE, x : x + _TILE] = _grey(mask)
    return sheet


def _grey(values: Tensor) -> np.ndarray:
    pixels = (values.float().clamp(0, 1) * 255).byte().cpu().numpy()
    pixels = cv2.resize(pixels, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
    return np.repeat(pixels[:, :, None], 3, axis=2)


def _compose(panels: dict[str, np.ndarray]) -> np.ndarray:
    height, width = next(iter(panels.values())).shape[:2]
    rows = -(-len(panels) // _COLUMNS)
    row, column = height + _TITLE + _GAP, width + _GAP
    sheet = np.full((rows * row - _GAP, _COLUMNS * column - _GAP, 3), _BACKGROUND, np.uint8)
    for i, (title, panel) in enumerate(panels.items()):
        y, x = i // _COLUMNS * row, i % _COLUMNS * column
        sheet[y + _TITLE : y + _TITLE + height, x : x + width] = panel
        place = (x + 6, y + _TITLE - 9)
        font, color = cv2.FONT_HERSHEY_SIMPLEX, _TEXT_COLOR
        cv2.putText(sheet, title, place, font, 0.55, color, 1, cv2.LINE_AA)
    return sheet
