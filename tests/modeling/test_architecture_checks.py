"""A config names parts that exist, and data sets that its model can learn."""

from __future__ import annotations

import pytest
from detectron2.modeling import META_ARCH_REGISTRY

from nucdet.config import load_config
from nucdet.data.datasets import register_coco_json
from nucdet.errors import InputError
from nucdet.modeling.architecture_checks import check_architecture, check_training_data
from nucdet.modeling.mask_rcnn.nucleus_rcnn import NucleusRCNN

CONFIG = "quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml"


@pytest.fixture
def trained_on(tmp_path):
    """A function that gives a config with classes for each data set to train on, by its name."""

    def load(**classes):
        for name, of_set in classes.items():
            path = tmp_path / f"{name}.json"
            path.write_text("{}")
            register_coco_json(name, path, tmp_path, of_set)
        cfg = load_config(CONFIG)
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(classes), ()
        return cfg

    return load


def test_a_detector_of_boxes_alone_is_refused_before_it_trains():
    with pytest.raises(InputError, match="MASK_ON is False, but nuclei need masks"):
        check_architecture(load_config(CONFIG, ["MODEL.MASK_ON", "False"]))


def test_a_network_that_nothing_registers_may_be_one_of_an_extension():
    with pytest.raises(InputError, match=r"expected one of FCN8s, .* \(.*NUCDET_EXTENSIONS must"):
        check_architecture(load_config(CONFIG, ["MODEL.SEGMENTATION.NETWORK", "Mine"]))
    with pytest.raises(InputError, match=r"expected one of LinkNet$"):
        check_architecture(load_config(CONFIG, ["MODEL.SEGMENTATION.NETWORK", "LinkNett"]))


def test_what_is_trained_on_together_has_the_same_classes(trained_on):
    check_training_data(trained_on(one=["nucleus"], another=["nucleus"]))
    with pytest.raises(InputError, match="one has the classes nucleus, but cells cell"):
        check_training_data(trained_on(one=["nucleus"], cells=["cell"]))
    cfg = trained_on(three=["a", "b", "c"])
    with pytest.raises(InputError, match=r"NUM_CLASSES is 1, but three has 3.*set it to 3"):
        check_training_data(cfg)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    check_training_data(cfg)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 1
    for name in ("CropRCNN", "CenterVotingSegmentor"):  # which learn one class, whatever there are
        cfg.MODEL.META_ARCHITECTURE = name
        check_training_data(cfg)


def test_a_detector_of_ones_own_needs_as_many_classes_as_the_data_too(trained_on):
    class MyRCNN(NucleusRCNN):
        pass

    cfg = trained_on(three=["a", "b", "c"])
    cfg.MODEL.META_ARCHITECTURE = "MyRCNN"
    META_ARCH_REGISTRY.register(MyRCNN)
    try:
        with pytest.raises(InputError, match=r"NUM_CLASSES is 1, but three has 3"):
            check_training_data(cfg)
    finally:
        META_ARCH_REGISTRY._obj_map.pop("MyRCNN")
