"""INPUT.NORMALIZE "percentile": images whose limits are known, in every depth."""

from __future__ import annotations

import numpy as np
import pytest

from nucdet.data.io.normalization import check_rule, intensity_limits, sample_boxes, to_rgb8
from nucdet.errors import InputError


def stretched(pixels: np.ndarray) -> np.ndarray:
    """int (H, W, 3)."""
    return to_rgb8(pixels, intensity_limits(pixels, "percentile")).astype(int)


def discs(size: int, count: int, radius: float, background: float, nuclei: float, noise: float):
    """float64 (size, size): bright discs in a row of cells of 40 pixels, on a noisy background."""
    y, x = np.mgrid[:size, :size]
    cell = y // 40 * (size // 40) + x // 40
    inside = (y % 40 - 20) ** 2 + (x % 40 - 20) ** 2 <= radius**2
    values = np.where(inside & (cell < count), nuclei, background)
    return values + np.random.default_rng(0).normal(0, noise, values.shape), inside & (cell < count)


EIGHT = np.clip(discs(200, 25, 9, 40, 120, 3)[0], 0, 255).round().astype(np.uint8)
COLOR = np.stack([EIGHT, 255 - EIGHT, EIGHT // 2 + 60], axis=-1)


@pytest.mark.parametrize("pixels", [EIGHT, COLOR], ids=["grey", "color"])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.uint16),
        lambda x: x.astype(np.uint16) * 257,
        lambda x: (x * 12.0 + 3000).astype(np.uint16),
        lambda x: x.astype(np.uint32) * 16843009,
        lambda x: x.astype(np.int32) * 3 - 70000,
        lambda x: x.astype(np.int16) - 128,
        lambda x: x.astype(np.float32) / 255,
        lambda x: x.astype(np.float64) * 1e-9 + 1,
        lambda x: x * 0.25 + 17.0,
    ],
    ids=["16", "16 full", "12 in 16", "32", "int32", "int16", "float", "float64", "quarter"],
)
def test_depth_scale_and_offset_do_not_show(pixels, change):
    expected = stretched(pixels)
    assert expected.min() == 0 and expected.max() == 255
    difference = np.abs(stretched(change(pixels)) - expected)
    # a value between two levels may be rounded either way
    assert difference.max() <= 1 and np.count_nonzero(difference) < 0.001 * difference.size


def test_an_8_bit_image_with_a_quarter_of_its_levels_stays_near():
    difference = np.abs(stretched((EIGHT * 0.25).astype(np.uint8) + 100) - stretched(EIGHT))
    assert difference.max() <= 4 * 255 / 80 + 2


def test_all_levels_of_more_than_8_bits_count():
    # 256 of 4096 levels and one wide outlier: through 8 bits only 16 levels would be left
    values = np.tile(np.arange(256, dtype=np.uint16), (256, 1)) + 1000
    values[0, 0] = 4095
    assert len(np.unique(stretched(values))) > 250


def test_colors_share_their_limits():
    ramp = np.tile(np.linspace(0, 100, 200), (200, 1))
    red, green, blue = np.moveaxis(stretched(np.stack([ramp, ramp / 2, ramp * 0], -1)), -1, 0)
    assert (blue == 0).all() and red.max() == 255
    np.testing.assert_allclose(green[red < 255], red[red < 255] / 2, atol=1)


def test_grey_as_three_channels_is_grey():
    np.testing.assert_array_equal(stretched(np.stack([EIGHT] * 3, -1)), stretched(EIGHT))


def test_an_inverted_image_gives_the_inverted_result():
    np.testing.assert_allclose(stretched(255 - COLOR), 255 - stretched(COLOR), atol=1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.float32])
def test_constant_images_are_black(dtype):
    for value in (0, 1):
        assert not stretched(np.full((30, 40), value, dtype)).any()


@pytest.mark.parametrize("size", [(1, 2), (2, 3), (1, 300)])
def test_tiny_images(size):
    values = np.arange(np.prod(size)).reshape(size).astype(np.uint16) * 100
    grey = stretched(values)[..., 0].ravel().astype(int)
    assert (np.diff(grey) >= 0).all() and len(set(grey)) >= min(values.size, 200)
    assert grey[-1] >= 128


def test_a_lone_pixel_is_black():
    assert not stretched(np.full((1, 1), 4000, np.uint16)).any()


def test_a_bright_speck_does_not_darken_the_rest():
    speck = EIGHT.astype(np.uint16)
    speck[50:55, 60:65] = 60000
    plain = stretched(EIGHT)
    rest = np.ones(EIGHT.shape, bool)
    rest[50:55, 60:65] = False
    assert np.abs(stretched(speck) - plain)[rest].max() <= 12
    # alone on a constant background it is all there is to see
    lone = np.full((200, 200), 500, np.uint16)
    lone[7, 9] = 40000
    assert stretched(lone)[7, 9, 0] == 255 and np.count_nonzero(stretched(lone)[..., 0]) == 1


def test_hot_pixels_do_not_count_however_many():
    hot = EIGHT.astype(np.float32)
    hot[3::20, 3::20] = 1e6
    hot[5::20, 5::20] = -1e30
    assert intensity_limits(hot, "percentile") == pytest.approx(
        intensity_limits(EIGHT, "percentile"), abs=3
    )


def test_nan_and_infinity_are_black_and_do_not_count():
    values = EIGHT.astype(np.float32)
    values[:80] = np.nan
    values[100, 100], values[120, 120] = np.inf, -np.inf
    result = stretched(values)
    assert not result[:80].any() and not result[100, 100].any() and not result[120, 120].any()
    np.testing.assert_allclose(result[140:], stretched(EIGHT[80:])[60:], atol=6)
    assert not stretched(np.full((5, 6), np.nan)).any()


def test_few_nuclei_in_a_large_dark_image_do_not_saturate():
    # 0.12 % of the pixels: a percentile of 99.8 would lie in the noise of the background
    values, inside = discs(1000, 12, 6, 100, 700, 5)
    assert inside.mean() < 0.002
    result = stretched(values.round().astype(np.uint16))[..., 0]
    assert result[~inside].std() < 4 and result[~inside].mean() < 10
    assert 240 < np.median(result[inside]) <= 255


def test_dim_nuclei_beside_bright_ones_stay_visible():
    values, bright = discs(400, 5, 9, 100, 4000, 5)
    _, every = discs(400, 40, 9, 100, 4000, 5)
    dim = every & ~bright
    values[dim] += 300
    result = stretched(values.round().astype(np.uint16))[..., 0]
    assert np.median(result[dim]) - np.median(result[~every]) > 15


def test_nothing_but_background_stays_faint():
    noise = np.random.default_rng(0).normal(300, 5, (256, 256)).round().astype(np.uint16)
    assert stretched(noise).std() < 25
    # two levels of 8 bits
    assert np.ptp(stretched((noise > 304).astype(np.uint8))) <= 32


def test_of_a_large_image_a_sample_decides():
    values = np.random.default_rng(0).integers(0, 1000, (2100, 2100), dtype=np.uint16)
    boxes = sample_boxes(values.shape)
    assert len(boxes) == 64 and boxes[-1][0].stop == boxes[-1][1].stop == 2100
    elsewhere = values.copy()
    hidden = np.ones(values.shape, bool)
    for box in boxes:
        hidden[box] = False
    elsewhere[hidden] = 60000
    assert intensity_limits(elsewhere, "percentile") == intensity_limits(values, "percentile")
    assert sample_boxes((2048, 2048)) == [np.s_[0:2048, 0:2048]]


def test_rules():
    assert check_rule("percentile") == "percentile"
    with pytest.raises(InputError, match=r"INPUT\.NORMALIZE is 'zscore'.*none, percentile"):
        check_rule("zscore")
    assert intensity_limits(EIGHT, "none") is None
    assert intensity_limits(EIGHT.astype(np.uint16), "none") is not None
