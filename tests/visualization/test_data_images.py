"""Images of a data set, as they are annotated and as a training sees them."""

import numpy as np
import pytest
from PIL import Image

from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.visualization.data_images import visualize_data
from nucdet.visualization.drawing import draw_instances

CONFIG = "configs/DSB2018/mask_rcnn_lite0_FPN.yaml"


@pytest.fixture
def draw_data(registered, repository, tmp_path):
    """Draw some images of the drawn data set; arrays by file name."""

    def draw(*overrides, **options):
        pairs = ["DATASETS.TRAIN", "('synthetic_train',)", *overrides]
        files = visualize_data(
            repository / CONFIG, pairs, output_dir=tmp_path / "out", **{"num": 2} | options
        )
        return {file.name: np.array(Image.open(file)) for file in files}

    return draw


def equal(some: dict, others: dict) -> bool:
    return some.keys() == others.keys() and all((others[k] == v).all() for k, v in some.items())


def test_annotations_lie_on_the_image_as_it_is(draw_data, registered, tmp_path):
    images = draw_data(source="annotation", num=None)
    truth = GroundTruth(registered / "synthetic/annotations/instances_train.json")
    assert sorted(images) == sorted(f"{image.stem}.png" for image in truth.images.values())
    image = truth.images[1]
    with Image.open(registered / "synthetic" / image.file_name) as file:
        pixels = np.array(file.convert("RGB"))
    assert (images[f"{image.stem}.png"] == draw_instances(pixels, truth.masks(1))).all()


def test_training_images_depend_on_the_seed_alone(draw_data):
    first = draw_data(num=2, seed=1)
    assert equal(first, draw_data(num=2, seed=1))
    assert not equal(first, draw_data(num=2, seed=2))
    both = draw_data(num=4, seed=1)  # files of the first run are overwritten
    assert len(both) == 4
    assert all((both[name] == image).all() for name, image in first.items())


def test_input_format_is_what_the_network_sees(draw_data):
    rgb = draw_data("INPUT.FORMAT", "RGB", num=4)
    assert equal(rgb, draw_data("INPUT.FORMAT", "BGR", num=4))
    grey = draw_data("INPUT.FORMAT", "L", num=4)
    corners = np.stack([image[:8, :8].reshape(-1, 3) for image in grey.values()])
    assert (np.ptp(corners, axis=2) == 0).mean() > 0.5  # but for the outlines
    assert not equal(rgb, grey)


def test_bad_wishes_for_data_are_named(draw_data, registered):
    with pytest.raises(InputError, match="'no_such'"):
        draw_data("DATASETS.TRAIN", "('no_such',)")
    with pytest.raises(InputError, match="holds no images"):
        draw_data("DATASETS.TRAIN", "()")
    with pytest.raises(InputError, match="0 images"):
        draw_data(num=0)
    with pytest.raises(InputError, match="seed"):
        draw_data(seed=-1)
