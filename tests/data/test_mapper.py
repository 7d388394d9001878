from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from nucdet.config import load_config
from nucdet.data.augment import registry
from nucdet.data.augment.photometry import Photometric, invert
from nucdet.data.mapper import NucleusDatasetMapper, label_layers
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

# two squares of 10 × 10 that share a corner of 4 × 4, and one of 2 × 2 far away
POLYGONS = [
    [[5, 5, 15, 5, 15, 15, 5, 15]],
    [[11, 11, 21, 11, 21, 21, 11, 21]],
    [[50, 30, 52, 30, 52, 32, 50, 32]],
]


def _masks() -> CroppedMasks:
    """The squares of POLYGONS."""
    dense = np.zeros((3, 40, 60), bool)
    dense[0, 5:15, 5:15] = True
    dense[1, 11:21, 11:21] = True
    dense[2, 30:32, 50:52] = True
    return CroppedMasks.from_dense(dense)


@pytest.fixture
def record(tmp_path):
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 2] = 250  # OpenCV writes BGR: red
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), image)
    annotations = [
        {"segmentation": rle, "category_id": c, "iscrowd": 0}
        for c, rle in zip((0, 1, 2), _masks().to_coco_rle(), strict=True)
    ]
    return {
        "file_name": str(path),
        "image_id": 7,
        "height": 40,
        "width": 60,
        "annotations": annotations,
    }


def _mapper(*overrides, **kwargs):
    plain = ["INPUT.MIN_SIZE_TRAIN", "(0,)", "INPUT.RANDOM_FLIP", "none", "INPUT.FORMAT", "RGB"]
    return NucleusDatasetMapper(load_config(overrides=[*plain, *overrides]), **kwargs)


@pytest.mark.parametrize("as_polygons", [(0,), (1, 2), (0, 1, 2)])
def test_annotations_may_be_polygons_and_rle_mixed(record, as_polygons):
    for i in as_polygons:
        record["annotations"][i]["segmentation"] = POLYGONS[i]
    instances = _mapper(augment=True)(record)["instances"]
    order = np.argsort(instances.gt_classes.numpy())
    assert np.array_equal(np.asarray(instances.gt_masks)[order], np.asarray(_masks()))


def test_without_augmentation_masks_boxes_and_classes_are_the_annotations(record):
    result = _mapper(augment=True)(record)
    assert result["image"].shape == (3, 40, 60)
    assert result["image"][:, 0, 0].tolist() == [250, 0, 0]
    assert "annotations" not in result
    instances = result["instances"]
    order = np.argsort(instances.gt_classes.numpy())
    assert np.array_equal(np.asarray(instances.gt_masks)[order], np.asarray(_masks()))
    assert instances.gt_boxes.tensor[order].tolist() == [
        [5, 5, 15, 15],
        [11, 11, 21, 21],
        [50, 30, 52, 32],
    ]


def test_enlarging_enlarges_the_overlapping_masks_whole(record):
    result = _mapper("INPUT.MIN_SIZE_TRAIN", "(80,)", augment=True)(record)
    instances = result["instances"]
    areas = dict(zip(instances.gt_classes.tolist(), instances.gt_masks.areas, strict=True))
    assert areas == {0: 400, 1: 400, 2: 16}


def test_instances_that_vanish_are_dropped(record):
    overrides = ["INPUT.AUGMENTATION.MIN_INSTANCE_AREA", "5"]
    instances = _mapper(*overrides, augment=True)(record)["instances"]
    assert sorted(instances.gt_classes.tolist()) == [0, 1]


def test_a_crop_without_nuclei_gives_empty_instances(record):
    record["annotations"] = []
    instances = _mapper(augment=True)(record)["instances"]
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert len(instances.gt_masks) == 0


def test_evaluation_gets_no_truth_and_validation_loss_does(record):
    assert "instances" not in _mapper(augment=False)(record)
    assert len(_mapper(augment=False, with_truth=True)(record)["instances"]) == 3


@pytest.mark.parametrize(("fmt", "pixel"), [("BGR", [0, 0, 250]), ("L", [83])])
def test_input_format(record, fmt, pixel):
    image = _mapper("INPUT.FORMAT", fmt, augment=True)(record)["image"]
    assert image[:, 0, 0].tolist() == pixel


def test_a_image_of_another_size_than_annotated(record):
    record["height"] = 41
    with pytest.raises(InputError, match=r"a\.png: is 40×60 pixels, its annotations say 41×60"):
        _mapper(augment=True)(record)


def test_a_damaged_annotation_is_named_with_its_image(record):
    record["annotations"][0]["segmentation"] = {"size": [40, 60], "counts": [7]}
    with pytest.raises(InputError, match=r"a\.png: its annotations: mask 0: its RLE covers 7 "):
        _mapper(augment=True)(record)


def test_unknown_format_is_named():
    with pytest.raises(InputError, match=r"INPUT\.FORMAT is 'HSV'"):
        _mapper("INPUT.FORMAT", "HSV", augment=True)


def test_layers_hold_every_mask_whole():
    layers = label_layers(_masks())
    assert len(layers) == 2
    for index, mask in enumerate(_masks()):
        assert any(np.array_equal(layer == index + 1, mask) for layer in layers)


@pytest.mark.parametrize(
    ("channels", "loss", "classes"), [(1, "bce", [0, 1]), (3, "weighted_border", [0, 1, 2])]
)
def test_semantic_networks_get_classes_of_pixels(record, channels, loss, classes):
    overrides = ["MODEL.META_ARCHITECTURE", "SemanticInstanceSegmentor"]
    overrides += ["MODEL.SEGMENTATION.NUM_CHANNELS", str(channels), "MODEL.SEGMENTATION.LOSS", loss]
    result = _mapper(*overrides, "INPUT.MIN_SIZE_TRAIN", "(80,)", augment=True)(record)
    assert result["sem_seg"].unique().tolist() == classes
    inside = np.asarray(result["instances"].gt_masks).any(axis=0)
    assert (result["sem_seg"].numpy() > 0)[inside].all()
    assert ("sem_seg_weights" in result) == (loss == "weighted_border")
    assert "sem_seg" not in _mapper(*overrides, augment=False)(record)


def test_zoom_by_the_diameter_of_the_nuclei(record):
    # two squares of 10 and one of 2: the median diameter is that of a square of 10
    rule = ["INPUT.RESIZE_RULE", "diameter", "TEST.NUCLEUS_DIAMETER"]
    result = _mapper(*rule, str(40 / np.sqrt(np.pi)), augment=True)(record)
    assert result["image"].shape == (3, 80, 120)
    # an image without nuclei: as by the rule "enlarge"
    empty = record | {"annotations": []}
    small = _mapper(*rule, "20.0", "INPUT.MIN_SIZE_TRAIN", "(60,)", augment=True)(empty)
    assert small["image"].shape == (3, 60, 90)
    # tiny nuclei are not enlarged without limit
    tiny = record | {"annotations": record["annotations"][2:]}
    assert _mapper(*rule, "500.0", augment=True)(tiny)["image"].shape == (3, 160, 240)


def test_annotations_without_a_pixel_are_no_nuclei(record):
    rule = ["INPUT.RESIZE_RULE", "diameter", "TEST.NUCLEUS_DIAMETER", str(40 / np.sqrt(np.pi))]
    # COCO's way to fill a polygon leaves nothing of a sliver
    sliver = {"segmentation": [[3, 3, 3.2, 3, 3.2, 9]], "category_id": 0}
    record["annotations"] = record["annotations"][:1] + [sliver] * 3
    result = _mapper(*rule, augment=True)(record)
    assert result["image"].shape == (3, 80, 120) and len(result["instances"]) == 1
    record["annotations"] = [sliver]
    assert len(_mapper(*rule, augment=True)(record)["instances"]) == 0


def test_center_voting_gets_its_maps(record):
    architecture = ["MODEL.META_ARCHITECTURE", "CenterVotingSegmentor"]
    result = _mapper(*architecture, augment=True)(record)
    maps = result["center_targets"]
    assert maps.shape == (5, 40, 60) and maps.dtype == torch.float32
    assert maps[0].sum() == result["instances"].gt_masks.to_dense().any(axis=0).sum()
    assert "center_targets" not in _mapper(augment=True)(record)


@pytest.fixture
def outside():
    """Augmentations from outside nucdet: a mirror image, inverted."""
    registry.geometric_augmentation(lambda cfg: [T.RandomFlip(prob=1.0)])
    registry.photometric_augmentation(lambda cfg: [Photometric(lambda: invert)])
    yield
    registry.GEOMETRIC.clear()
    registry.PHOTOMETRIC.clear()


def test_augmentations_from_outside_are_for_training(record, outside):
    seen = _mapper(augment=True)(record)
    assert seen["image"].amin((1, 2)).tolist() == [5, 255, 255]
    union = np.asarray(_masks()).any(axis=0)
    assert np.array_equal(np.asarray(seen["instances"].gt_masks).any(axis=0), union[:, ::-1])
    unchanged = ("INPUT.MIN_SIZE_TEST", "0")
    plain = _mapper(*unchanged, augment=False, with_truth=True)(record)
    assert plain["image"].amax((1, 2)).tolist() == [250, 0, 0]
    assert np.array_equal(np.asarray(plain["instances"].gt_masks).any(axis=0), union)


def test_augmentations_from_outside_change_an_image_once_if_nuclei_are_pasted(record, outside):
    paste = ("INPUT.AUGMENTATION.COPY_PASTE.PROB", "1.0")
    seen = _mapper(*paste, augment=True)(record)
    assert seen["image"].amin((1, 2)).tolist() == [5, 255, 255]
    assert np.asarray(seen["instances"].gt_masks)[0, 5:15, -15:-5].all()
