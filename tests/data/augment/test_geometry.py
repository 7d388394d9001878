from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T

from nucdet.config import load_config
from nucdet.data.augment.geometry import (
    Nuclei,
    RandomElastic,
    RandomTurn90,
    RandomWindow,
    Resize,
    build_geometric,
    evaluation_resize,
)
from nucdet.data.augment.transforms import AffineTransform, DisplacementTransform, TurnTransform
from nucdet.errors import InputError


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def _image(height=40, width=60) -> tuple[np.ndarray, np.ndarray]:
    """A bright rectangle at rows 10-19, columns 5-24, and its label map."""
    labels = np.zeros((height, width), np.float32)
    labels[10:20, 5:25] = 1
    image = np.repeat((labels * 200).astype(np.uint8)[..., None], 3, axis=2)
    return image, labels


def _apply(augmentation, image, labels):
    transform = augmentation.get_transform(image)
    return transform.apply_image(image), transform.apply_segmentation(labels)


def test_affine_doubling_puts_each_pixel_where_it_belongs():
    _, labels = _image()
    double = AffineTransform(np.array([[2, 0, 0], [0, 2, 0]]), (80, 120))
    expected = labels.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(double.apply_segmentation(labels), expected)
    assert double.apply_coords(np.array([[5.0, 10.0]])).tolist() == [[10, 20]]


def test_affine_crop_takes_exactly_the_window():
    image, labels = _image()
    crop = AffineTransform(np.array([[1, 0, -3], [0, 1, -8]]), (20, 30))
    assert np.array_equal(crop.apply_image(image), image[8:28, 3:33])
    assert np.array_equal(crop.apply_segmentation(labels), labels[8:28, 3:33])


@pytest.mark.parametrize("turns", range(4))
def test_turn_moves_corners_with_pixels(turns):
    _, labels = _image()
    turn = TurnTransform(40, 60, turns)
    turned = turn.apply_segmentation(labels)
    corners = turn.apply_coords(np.array([[5.0, 10.0], [25.0, 20.0]]))
    (x0, y0), (x1, y1) = corners.min(axis=0).astype(int), corners.max(axis=0).astype(int)
    assert turned[y0:y1, x0:x1].all()
    assert turned.sum() == labels.sum() == (y1 - y0) * (x1 - x0)


@pytest.mark.parametrize(
    "augmentation",
    [
        RandomWindow(lambda h, w: 1.0, scale_jitter=(0.5, 2.0)),
        RandomWindow(lambda h, w: 2.0, rotation=180, rotation_prob=1.0),
        RandomWindow(lambda h, w: 1.5, crop=lambda h, w: (32, 32), rotation=45, rotation_prob=1.0),
        RandomElastic(alpha=3.0, sigma=8.0),
        RandomTurn90(),
    ],
    ids=["zoom", "rotation", "rotated crop", "elastic", "turn"],
)
def test_image_and_labels_move_together(augmentation):
    image, labels = _image()
    for _ in range(20):
        new_image, new_labels = _apply(augmentation, image, labels)
        assert new_image.shape[:2] == new_labels.shape
        assert set(np.unique(new_labels)) <= {0, 1}
        # nearest and bilinear sampling agree except on the rim of the rectangle
        differs = (new_image[..., 0] > 100) != (new_labels > 0)
        rim = np.abs(np.gradient(new_labels)[0]) + np.abs(np.gradient(new_labels)[1]) > 0
        assert not (differs & ~rim).any()


def test_the_given_share_of_images_is_rotated():
    keys = {"INPUT__AUGMENTATION__ROTATION": 180.0, "INPUT__AUGMENTATION__ROTATION_PROB": 0.25}
    window = build_geometric(_cfg(**keys))[0]
    matrices = [window.get_transform(_image()[0]).matrix for _ in range(100)]
    assert 15 <= sum(matrix[0, 1] != 0 for matrix in matrices) <= 35


def test_no_corner_from_outside_shows_after_a_rotation():
    image, _ = _image()
    window = RandomWindow(lambda h, w: 1.0, rotation=180, rotation_prob=1.0)
    for _ in range(50):
        transform = window.get_transform(image)
        height, width = transform.size
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
        linear, shift = transform.matrix[:, :2], transform.matrix[:, 2]
        source = (corners - shift) @ np.linalg.inv(linear).T
        assert (source >= -1e-6).all()
        assert (source <= np.array([60, 40]) + 1e-6).all()


def test_a_crop_keeps_masks_whole_to_its_edge():
    image, labels = _image()
    window = RandomWindow(lambda h, w: 1.0, crop=lambda h, w: (16, 16))
    sizes = set()
    for _ in range(30):
        new_image, new_labels = _apply(window, image, labels)
        assert np.array_equal(new_image[..., 0] > 100, new_labels > 0)
        sizes.add(int(new_labels.sum()))
    assert max(sizes) == 160  # 10 rows by 16 columns: all of the crop's width
    assert len(sizes) > 3


def test_a_window_larger_than_the_image_is_the_image():
    image, labels = _image()
    window = RandomWindow(lambda h, w: 1.0, crop=lambda h, w: (min(h, 500), min(w, 500)))
    new_image, _ = _apply(window, image, labels)
    assert np.array_equal(new_image, image)


def test_coordinates_follow_an_elastic_warp():
    image, _ = _image(80, 120)
    transform = RandomElastic(alpha=3.0, sigma=12.0).get_transform(image)
    assert isinstance(transform, DisplacementTransform)
    assert transform.displacement.std() == pytest.approx(3.0, rel=0.2)
    mark = np.zeros((80, 120), np.float32)
    mark[38:43, 58:63] = 1
    ys, xs = np.nonzero(transform.apply_segmentation(mark))
    moved = transform.apply_coords(np.array([[60.5, 40.5]]))[0]
    assert abs(moved - (xs.mean() + 0.5, ys.mean() + 0.5)).max() < 1.0


def _cfg(**keys):
    overrides = [str(text) for pair in keys.items() for text in pair]
    return load_config(overrides=[o.replace("__", ".") for o in overrides])


def test_evaluation_resizes_by_the_rule():
    for rule, expected in (("shortest_edge", (512, 768)), ("enlarge", (600, 900))):
        cfg = _cfg(INPUT__RESIZE_RULE=rule, INPUT__MIN_SIZE_TEST=512)
        large = T.AugInput(np.zeros((600, 900, 3), np.uint8))
        T.AugmentationList([Resize(evaluation_resize(cfg))])(large)
        assert large.image.shape[:2] == expected
        small = T.AugInput(np.zeros((256, 320, 3), np.uint8))
        T.AugmentationList([Resize(evaluation_resize(cfg))])(small)
        assert small.image.shape[:2] == (512, 640)


@pytest.mark.parametrize("zoom", [0.37, 0.8, 1.7, 3.1])
def test_a_resize_moves_labels_with_the_image(zoom):
    rows, columns = np.mgrid[:120, :160]
    labels = (np.hypot(rows - 50, columns - 90) < 30).astype(np.float32)
    image = np.repeat((labels * 255).astype(np.uint8)[..., None], 3, axis=2)
    new_image, new_labels = _apply(Resize(lambda h, w: zoom), image, labels)
    assert new_labels.shape == new_image.shape[:2]
    centers = [
        np.array([np.average(axis, weights=weights) for axis in np.indices(weights.shape)])
        for weights in (new_image[..., 0], new_labels)
    ]
    assert np.abs(centers[0] - centers[1]).max() < 0.15


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT__RESIZE_RULE", "longest"),
        ("INPUT__RANDOM_FLIP", "diagonal"),
    ],
)
def test_unknown_choices_name_the_key(key, value):
    with pytest.raises(InputError, match=key.replace("__", ".")):
        build_geometric(_cfg(**{key: value}))
    cfg = _cfg(INPUT__CROP__ENABLED=True, INPUT__CROP__TYPE="relative_range")
    with pytest.raises(InputError, match=r"INPUT\.CROP\.TYPE"):
        build_geometric(cfg)


def test_a_small_image_fills_the_crop():
    image, labels = _image(40, 60)
    fill = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE", "absolute_fill"]
    keys = [*fill, "INPUT.CROP.SIZE", "[80, 80]", "INPUT.MIN_SIZE_TRAIN", "(0,)"]
    window = build_geometric(load_config(overrides=keys))[0]
    seen, _ = _apply(window, image, labels)
    assert seen.shape[:2] == (80, 80)


def test_a_slightly_smaller_image_is_not_mirrored_to_fill_the_crop():
    image = np.zeros((500, 503, 3), np.uint8)
    window = RandomWindow(lambda h, w: 1.0, crop=lambda h, w: (508, 508))
    transform = window.get_transform(image)
    corners = transform.apply_coords(np.array([[0.0, 0.0], [503.0, 500.0]]))
    # at most the half pixel by which a window is moved onto whole pixels
    assert (corners[0] <= 0.5).all()
    assert (corners[1] >= 507.5).all()


def test_windows_around_nuclei_show_one():
    image = np.zeros((400, 500, 3), np.uint8)
    centers = np.array([[5.0, 8.0], [200.0, 490.0], [397.0, 250.0]])
    for y, x in centers.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    window = RandomWindow(lambda h, w: 1.0, crop=lambda h, w: (40, 40), on_nuclei=1.0)
    shown = []
    for _ in range(50):
        augmented = T.AugInput(image)
        augmented.nuclei = Nuclei(10.0, centers)
        window(augmented)
        shown.append(augmented.image.any())
    assert all(shown)
    # anywhere else, a window of 40 shows one of the three in a few per cent of the draws
    anywhere = RandomWindow(window.resize, crop=window.crop)
    assert sum(_apply(anywhere, image, image[..., 0])[0].any() for _ in range(50)) < 10
