from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T

from nucdet.config import load_config
from nucdet.data.augment.perturbations import parse_perturbation, seed_noise
from nucdet.data.evaluation_mapper import EvaluationMapper
from nucdet.data.mapper import NucleusDatasetMapper
from nucdet.errors import InputError

NAMES = ("noise:0.05", "blur:1", "gamma:2", "invert", "jpeg:30", "scale:0.5", "seed:0.05,0.1")


def perturb(image: np.ndarray, name: str, image_id: int | str = 1) -> np.ndarray:
    seen = T.AugInput(image)
    seen.image_id = image_id
    parse_perturbation(name)(seen)
    return seen.image


def make_image(seed: int = 0, colors: bool = True) -> np.ndarray:
    shape = (64, 96, 3 if colors else 1)
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).uniform(0, 255, shape), (0, 0), 3)
    smooth = smooth.reshape(shape)
    scaled = (smooth - smooth.min()) / np.ptp(smooth)
    return np.broadcast_to((40 + 160 * scaled).astype(np.uint8), (64, 96, 3)).copy()


@pytest.mark.parametrize("name", NAMES)
def test_changes_the_image_and_not_the_original(name):
    image = make_image()
    before = image.copy()
    changed = perturb(image, name)
    assert changed.dtype == np.uint8
    assert changed.shape != image.shape or (changed != image).any()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", ["noise:0.05", "seed:0.05,0.1"])
def test_noise_depends_on_the_image_id_alone(name):
    image = make_image()
    np.testing.assert_array_equal(perturb(image, name, 7), perturb(image, name, 7))
    assert (perturb(image, name, 7) != perturb(image, name, 8)).any()
    assert (perturb(image, name, "a") != perturb(image, name, "b")).any()


def test_seed_noise_has_the_mean_and_the_variance_of_the_report():
    image = np.full((400, 400, 3), 100, np.uint8)
    image[:, ::2] = 60  # variance 400, no value near the ends of the range
    change = seed_noise(image, np.random.default_rng(0), 0.05, 0.1).astype(float) - image
    assert change.mean() == pytest.approx(0.05 * 100, abs=0.1)
    assert change.var() == pytest.approx(0.1 * 400 + 1 / 12, rel=0.02)  # and of the rounding
    np.testing.assert_array_equal(perturb(image, "seed:0,0"), image)


def test_grey_stays_grey():
    grey = make_image(colors=False)
    for name in NAMES:
        changed = perturb(grey, name)
        assert (changed == changed[..., :1]).all(), name


def test_known_values():
    image = np.array([[[0, 64, 255]] * 8] * 8, np.uint8)
    assert perturb(image, "invert")[0, 0].tolist() == [255, 191, 0]
    assert perturb(image, "gamma:0.5")[0, 0].tolist() == [0, 128, 255]
    assert perturb(image, "gamma:2")[0, 0].tolist() == [0, 16, 255]
    assert perturb(image, "scale:0.5").shape == (4, 4, 3)
    assert perturb(image, "scale:2").shape == (16, 16, 3)


def test_blur_and_jpeg_take_detail_away():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8).repeat(3, axis=2)
    assert perturb(image, "blur:2").std() < perturb(image, "blur:1").std() < image.std() / 2
    low, high = (perturb(image, f"jpeg:{q}").astype(int) for q in (5, 95))
    assert abs(low - image).mean() > 3 * abs(high - image).mean()


@pytest.mark.parametrize("value", [0, 255])
def test_constant_images(value):
    # no division by the range or the variance of the image, which are 0: what adds no noise leaves
    # it constant, and noise of no power is a constant, too
    image = np.full((8, 8, 3), value, np.uint8)
    for name in NAMES:
        changed = perturb(image, name)
        assert changed.dtype == np.uint8 and changed.size, name
        if not name.startswith("noise"):
            assert np.ptp(changed) <= 1, name


@pytest.mark.parametrize(
    "name",
    [
        *("", "fog", "blur", "blur:0", "blur:1,2", "blur:x", "invert:1", "jpeg:96", "scale:-1"),
        *("seed:0.05", "seed:5,10", "noise:nan"),
    ],
)
def test_mistakes_list_what_there_is(name):
    with pytest.raises(InputError, match=r"expected one of noise:SHARE \(0 to 1\), .*MEAN,POWER"):
        parse_perturbation(name)


def test_evaluation_sees_it_and_training_does_not(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), make_image())
    record = {"file_name": str(path), "image_id": 3, "height": 64, "width": 96, "annotations": []}
    plain = ["INPUT.MIN_SIZE_TEST", "0", "INPUT.MIN_SIZE_TRAIN", "(0,)", "INPUT.CROP.ENABLED"]
    plain += ["False", "INPUT.RANDOM_FLIP", "none", "INPUT.FORMAT", "RGB"]

    def seen(perturbation: str, augment: bool = False):
        cfg = load_config(overrides=[*plain, "TEST.PERTURBATION", perturbation])
        return NucleusDatasetMapper(cfg, augment=augment)(record)

    clean = seen("")["image"].numpy()
    np.testing.assert_array_equal(seen("invert")["image"], 255 - clean)
    np.testing.assert_array_equal(seen("invert", augment=True)["image"], clean)
    image = clean.transpose(1, 2, 0)
    expected = perturb(image, "seed:0.05,0.1", 3).transpose(2, 0, 1)
    np.testing.assert_array_equal(seen("seed:0.05,0.1")["image"], expected)
    halved = seen("scale:0.5")
    assert halved["image"].shape == (3, 32, 48)
    # predictions come back in the image of the file
    assert (halved["height"], halved["width"]) == (64, 96)


@pytest.mark.parametrize("name", ["blur:2", "scale:0.5", "gamma:0.5", "noise:0.05"])
def test_a_perturbed_image_is_normalized_as_its_file_would_be(tmp_path, name):
    image = np.zeros((64, 96, 3), np.uint8)
    for y, x in np.ndindex(4, 6):  # specks, which a blur makes fainter
        image[16 * y + 6 : 16 * y + 9, 16 * x + 6 : 16 * x + 9] = 200
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), perturb(image, name))

    def seen(file: str, *perturbation: str) -> np.ndarray:
        cfg = load_config(overrides=["INPUT.NORMALIZE", "percentile", *perturbation])
        height, width = cv2.imread(str(tmp_path / file)).shape[:2]
        record = {"file_name": str(tmp_path / file), "height": height, "width": width}
        return EvaluationMapper(cfg)({**record, "image_id": 1})["image"].numpy().astype(int)

    expected = seen("b.png")
    assert expected.max() > 200
    np.testing.assert_array_equal(seen("a.png", "TEST.PERTURBATION", name), expected)


def test_truth_follows_the_scale(tmp_path):
    from nucdet.structures import CroppedMasks

    dense = np.zeros((1, 64, 96), bool)
    dense[0, 20:40, 30:60] = True
    rle = CroppedMasks.from_dense(dense).to_coco_rle()[0]
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), make_image())
    record = {
        "file_name": str(path),
        "image_id": 3,
        "height": 64,
        "width": 96,
        "annotations": [{"segmentation": rle, "category_id": 0}],
    }
    cfg = load_config(overrides=["INPUT.MIN_SIZE_TEST", "0", "TEST.PERTURBATION", "scale:0.5"])
    truth = NucleusDatasetMapper(cfg, augment=False, with_truth=True)(record)["instances"]
    assert truth.gt_boxes.tensor.tolist() == [[15, 10, 30, 20]]
