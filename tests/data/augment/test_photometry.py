from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T

from nucdet.config import load_config
from nucdet.data.augment import color
from nucdet.data.augment.photometry import build_photometric, compress_jpeg


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 200, (32, 32, 3), dtype=np.uint8)


@pytest.fixture
def fluorescence() -> np.ndarray:
    """A grey disc of 60 on a background of 10."""
    ys, xs = np.mgrid[:64, :64]
    grey = np.where((ys - 32) ** 2 + (xs - 32) ** 2 < 150, 60, 10).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _change(image: np.ndarray, **keys) -> np.ndarray:
    pairs = [(f"INPUT.AUGMENTATION.{k.replace('__', '.')}", str(v)) for k, v in keys.items()]
    cfg = load_config(overrides=[text for pair in pairs for text in pair])
    given = T.AugInput(image.copy())
    transforms = T.AugmentationList(build_photometric(cfg))(given)
    labels = np.arange(image.shape[0] * image.shape[1], dtype=np.float32).reshape(image.shape[:2])
    assert np.array_equal(transforms.apply_segmentation(labels), labels)
    assert np.array_equal(transforms.apply_image(image), given.image)  # the same twice
    assert given.image.dtype == np.uint8 and given.image.shape == image.shape
    return given.image


ALL_KEYS = {
    "GREY_PROB": 1.0, "COLORIZE_PROB": 1.0, "STAIN__PROB": 1.0, "HUE_SATURATION__PROB": 1.0,
    "CHANNELS__PROB": 1.0, "INVERT_PROB": 1.0, "BRIGHTNESS": 0.3,
    "CONTRAST": 0.3, "GAMMA": 2.0, "FADE__PROB": 1.0, "ILLUMINATION__PROB": 1.0, "BLUR__PROB": 1.0,
    "NOISE__PROB": 1.0, "JPEG__PROB": 1.0, "RANDOM_CONVOLUTION__PROB": 1.0,
}  # fmt: skip


def test_without_a_key_nothing_changes(image):
    assert np.array_equal(_change(image), image)


@pytest.mark.parametrize("key", ALL_KEYS)
def test_each_key_changes_the_image_and_not_the_masks(image, key):
    assert not np.array_equal(_change(image, **{key: ALL_KEYS[key]}), image)


def test_all_at_once_and_the_same_seed_gives_the_same_image(image):
    np.random.seed(5)
    first = _change(image, **ALL_KEYS)
    np.random.seed(5)
    assert np.array_equal(_change(image, **ALL_KEYS), first)


def test_grey_invert_and_blur(image):
    assert np.array_equal(_change(image, INVERT_PROB=1.0), 255 - image)
    grey = _change(image, GREY_PROB=1.0)
    assert np.array_equal(grey[..., 0], image.mean(axis=2).round().astype(np.uint8))
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert _change(image, BLUR__PROB=1.0, BLUR__SIGMA=3.0).std() < image.std()


def test_gamma_keeps_black_white_and_order():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    bent = _change(ramp, GAMMA=2.0)[0, :, 0].astype(int)
    assert (bent[0], bent[-1]) == (0, 255)
    assert (np.diff(bent) >= 0).all()
    assert (bent != np.arange(256)).any()


def test_noise_is_as_strong_as_said_and_leaves_a_grey_image_grey():
    image = np.full((256, 256, 3), 100, np.uint8)
    noisy = _change(image, NOISE__PROB=1.0)
    assert 0 < noisy.std() < 12.5
    assert noisy.mean() == pytest.approx(100, abs=0.2)
    assert np.array_equal(noisy[..., 0], noisy[..., 1])


def test_a_stain_shift_of_nothing_is_nothing(image):
    assert np.array_equal(color.draw_stain(0.0)(image), image)


def test_more_hematoxylin_darkens_by_its_own_color(monkeypatch):
    # a pixel of pure hematoxylin, amount 1, doubled: each optical density doubles
    stain = np.array([0.65, 0.70, 0.29])
    monkeypatch.setattr(np.random, "uniform", lambda low, high, n: [np.full(n, 2.0), np.zeros(n)][
        low == -1.0
    ])  # fmt: skip
    pixel = (256 * np.exp(-stain) - 1).round().astype(np.uint8)[None, None]
    doubled = color.draw_stain(1.0)(pixel)[0, 0]
    assert np.allclose(doubled, 256 * np.exp(-2 * stain) - 1, atol=2)


def test_a_third_of_a_turn_makes_red_green(monkeypatch):
    monkeypatch.setattr(np.random, "uniform", lambda low, high: high if high > 2 else 1.0)
    red = np.array([[[200, 0, 0]]], np.uint8)
    assert color.draw_hue_and_saturation(120.0, 0.3)(red)[0, 0] == pytest.approx([0, 200, 0], abs=6)
    grey = np.full((1, 1, 3), 77, np.uint8)
    assert np.array_equal(color.draw_hue_and_saturation(120.0, 0.3)(grey), grey)


def test_channels_change_by_a_straight_line_each(image):
    changed = _change(image, CHANNELS__PROB=1.0)
    lines = [np.polyfit(image[..., c].ravel(), changed[..., c].ravel(), 1) for c in range(3)]
    assert all(0.79 < slope < 1.21 and abs(start) < 16 for slope, start in lines)
    assert len({round(slope, 3) for slope, _ in lines}) == 3


def test_dyed_nuclei_stand_out_from_a_background_that_is_light_or_dark(fluorescence):
    backgrounds = []
    for _ in range(40):
        dyed = color.draw_colors()(fluorescence).astype(int)
        assert len(np.unique(dyed.reshape(-1, 3), axis=0)) == 2
        background, nuclei = dyed[0, 0], dyed[32, 32]
        assert abs(background.max() - nuclei.max()) >= 25
        backgrounds.append(background.max() > nuclei.max())
    assert 8 < sum(backgrounds) < 32


def test_the_dye_counts_from_the_background_also_where_it_is_bright(fluorescence):
    np.random.seed(3)
    dyed = color.draw_colors()(fluorescence)
    np.random.seed(3)
    assert np.array_equal(color.draw_colors()(255 - fluorescence), dyed)


def test_a_faded_image_keeps_its_order_and_stays_visible(image, fluorescence):
    for _ in range(20):
        faded = _change(image, FADE__PROB=1.0).astype(float)
        share = (faded.max() - faded.min()) / (image.max() - image.min())
        assert 0.19 <= share <= 1.0
        assert np.corrcoef(faded.ravel(), image.ravel())[0, 1] > 0.999
        faint = _change(fluorescence, FADE__PROB=1.0).astype(int)
        assert 23 <= faint[32, 32, 0] - faint[0, 0, 0] <= 50


def test_uneven_light_is_smooth_and_within_its_strength():
    image = np.full((96, 96, 3), 100, np.uint8)
    for _ in range(20):
        lit = _change(image, ILLUMINATION__PROB=1.0)
        grey = lit[..., 0].astype(int)
        assert np.array_equal(lit[..., 0], lit[..., 2])
        assert 2 < grey.max() - grey.min() < 140
        assert np.abs(np.diff(grey, axis=0)).max() <= 8
        # 2^±0.5, or up to 64 more
        assert grey.min() >= 70 and grey.max() <= 164


def test_a_random_convolution_keeps_brightness_and_edges(fluorescence):
    """The mean stays, and what is flat stays flat at 4 pixels from an edge."""
    gradient = cv2.morphologyEx(fluorescence[..., 0], cv2.MORPH_GRADIENT, np.ones((9, 9)))
    flat = gradient == 0
    differences = []
    for _ in range(30):
        changed = _change(fluorescence, RANDOM_CONVOLUTION__PROB=1.0)[..., 1].astype(float)
        assert abs(changed.mean() - fluorescence.mean()) < 5
        assert changed.std() < fluorescence.std() + 1
        values = changed[flat & (fluorescence[..., 0] == 10)]
        assert np.ptp(values) <= 1
        differences.append(changed[32, 32] - values[0])
    assert min(differences) < 0 < max(differences)  # inverted, or not
    assert 45 < max(differences) < 65


def test_a_random_convolution_of_a_constant_image_is_the_image():
    image = np.full((20, 20, 3), 90, np.uint8)
    assert np.array_equal(_change(image, RANDOM_CONVOLUTION__PROB=1.0), image)


def test_jpeg_keeps_colors_in_their_channels():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:] = (200, 40, 90)
    pressed = _change(image, JPEG__PROB=1.0, JPEG__QUALITY=30).astype(int)
    assert np.abs(pressed - image).max() < 12


def test_jpeg_of_an_image_as_it_is_is_the_codec_alone(image):
    pressed = _change(image, JPEG__PROB=1.0, JPEG__QUALITY=95)  # the highest that is drawn
    assert np.array_equal(pressed, compress_jpeg(95)(image))


def test_jpeg_at_low_contrast_leaves_larger_errors_and_enlarged_ones_larger_blocks():
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (96, 96)).astype(np.float32), (0, 0), 2)
    image = cv2.merge([np.clip(128 + 6 * (noise - noise.mean()), 0, 255).astype(np.uint8)] * 3)

    def errors(**keys) -> np.ndarray:
        changed = [_change(image, JPEG__PROB=1.0, **keys).astype(float) - image for _ in range(20)]
        return np.stack(changed)[..., 1]

    plain, dim = errors(), errors(JPEG__CONTRAST=0.05)
    assert dim.std() > 1.5 * plain.std()

    # neighboring pixels err alike where the image was enlarged after it was compressed
    def roughness(error: np.ndarray) -> float:
        return np.diff(error, axis=2).std() / error.std()

    assert roughness(errors(JPEG__ZOOM=8.0)) < 0.8 * roughness(plain)
