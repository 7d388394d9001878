"""read_image against images whose pixels are written down here, in every format it takes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nucdet.data.io.reading import decode_image, read_image, read_mask, read_mask_window
from nucdet.errors import InputError

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


def as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def saved(path: Path, mode: str) -> Path:
    """RGB or GREY in a Pillow mode, with an alpha that would change the colors if blended."""
    image = Image.fromarray(RGB if mode in ("RGB", "RGBA") else GREY)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(GREY[::-1].copy()))
    image.save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("mode", "expected"), [("L", as_rgb(GREY)), ("LA", as_rgb(GREY)), ("RGB", RGB), ("RGBA", RGB)]
)
def test_8_bit_comes_as_stored_and_alpha_is_dropped(tmp_path, suffix, mode, expected):
    image = read_image(saved(tmp_path / f"a.{suffix}", mode))
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jpg"])
def test_grey_is_one_channel_in_every_format(tmp_path, suffix):
    Image.fromarray(np.full((9, 9), 200, np.uint8)).save(tmp_path / f"a.{suffix}")
    stored = decode_image(tmp_path / f"a.{suffix}")
    assert stored.shape == (9, 9) and np.abs(stored.astype(int) - 200).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_with_alpha_is_one_channel(tmp_path, suffix):
    np.testing.assert_array_equal(decode_image(saved(tmp_path / f"a.{suffix}", "LA")), GREY)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_palette_and_1_bit(tmp_path, suffix):
    colors = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)
    index = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.frombytes("P", (4, 3), index.tobytes())
    image.putpalette(colors.tobytes())
    image.save(tmp_path / f"palette.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"palette.{suffix}"), colors[index])

    bits = index == 1
    Image.fromarray(bits).save(tmp_path / f"bits.{suffix}")
    expected = as_rgb(bits.astype(np.uint8) * 255)
    np.testing.assert_array_equal(read_image(tmp_path / f"bits.{suffix}"), expected)


def test_jpeg_is_read_and_its_orientation_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees"
    Image.fromarray(np.full((16, 24, 3), (200, 40, 90), np.uint8)).save(
        tmp_path / "a.jpg", quality=95, exif=exif
    )
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (16, 24, 3)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 40, 90), atol=3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled_by_percentiles_not_cut(tmp_path, suffix):
    # 2000 values from 300 to 2299, and one hot pixel that must not darken the rest
    values = np.arange(300, 2300, dtype=np.uint16).reshape(40, 50)
    values[20, 20] = 65535
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), values)
    image = read_image(path)[..., 0].astype(int)
    assert image.min() == 0 and image.max() == 255 and image[20, 20] == 255
    assert abs(image[39, 0] - 255 * (2250 - 302) / (2297 - 302)) <= 1
    np.testing.assert_array_equal(np.sort(image.ravel()[:1000]), image.ravel()[:1000])


def test_16_bit_color_keeps_its_hue(tmp_path):
    values = np.zeros((20, 20, 3), np.uint16)
    values[..., 0] = np.linspace(0, 4000, 20)  # red is twice green
    values[..., 1] = np.linspace(0, 2000, 20)
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    image = read_image(tmp_path / "a.png").astype(int)
    np.testing.assert_allclose(image[:, -1], np.tile((255, 127.5, 0), (20, 1)), atol=1)
    assert (image[..., 2] == 0).all()


def test_float_tiff_with_nan_and_constant_images(tmp_path):
    values = np.linspace(-1, 1, 400, dtype=np.float32).reshape(20, 20)
    values[0, 0], values[5, 5] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read_image(tmp_path / "a.tif")
    assert image[0, 0, 0] == 0 and image[5, 5, 0] == 0 and image[-1, -1, 0] == 255
    for constant in (np.full((4, 5), 7, np.uint16), np.full((4, 5), np.nan, np.float32)):
        tifffile.imwrite(tmp_path / "b.tif", constant)
        assert not read_image(tmp_path / "b.tif").any()
    assert read_image(saved(tmp_path / "c.png", "L")).max() == 235  # 8 bits are not stretched


def test_a_few_bright_pixels_on_a_constant_background_show(tmp_path):
    values = np.zeros((100, 100), np.uint16)
    values[3, 4] = 900
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert read_image(tmp_path / "a.tif")[3, 4, 0] == 255


def test_tiff_layouts(tmp_path):
    tifffile.imwrite(tmp_path / "planes.tif", RGB.transpose(2, 0, 1), photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "planes.tif"), RGB)
    tifffile.imwrite(tmp_path / "white0.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "white0.tif"), as_rgb(GREY))
    tifffile.imwrite(tmp_path / "lzw.tif", GREY, compression="lzw", predictor=True)
    np.testing.assert_array_equal(read_image(tmp_path / "lzw.tif"), as_rgb(GREY))


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_tiff_with_several_stains_is_refused(tmp_path, channels, layout):
    shape = (6, 8, channels) if layout == "contig" else (channels, 6, 8)
    path = tmp_path / "stains.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack", planarconfig=layout)
    with pytest.raises(
        InputError, match=rf"stains.tif: {channels} channels .*expected grey or RGB"
    ):
        read_image(path)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_tiff_with_other_colors_is_not_taken_for_rgb(tmp_path, mode):
    Image.fromarray(np.zeros((6, 8, 4 if mode == "CMYK" else 3), np.uint8), mode=mode).save(
        tmp_path / "colors.tif"
    )
    with pytest.raises(InputError, match=r"colors.tif: \d channels .*expected grey or RGB"):
        read_image(tmp_path / "colors.tif")
    # JPEG converts to YCbCr and back
    Image.fromarray(np.full((16, 16, 3), (200, 30, 30), np.uint8)).save(
        tmp_path / "jpeg.tif", compression="jpeg"
    )
    assert abs(read_image(tmp_path / "jpeg.tif").astype(int) - (200, 30, 30)).max() <= 2


def test_multi_page_tiff_is_no_single_image(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([GREY, GREY[::-1], GREY // 2]), photometric="minisblack")
    with pytest.raises(InputError, match=r"stack.tif: holds 3 pages, expected one"):
        read_image(path)


def test_a_decoder_says_nothing_of_its_own(tmp_path, capfd):
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(10_000, dtype=np.uint8).reshape(100, 100)).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_cut_short_files_are_named(tmp_path, suffix, kept):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=rf"cut.{suffix}"):
        read_image(path)


def test_what_is_no_image(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty.png: the file is empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text.png: not an image"):
        read_image(tmp_path / "text.png")
    (tmp_path / "crashed.tif").write_bytes(b"II*\0" + bytes(4))  # a header without pages
    with pytest.raises(InputError, match=r"crashed.tif: damaged or cut short \(it holds no image"):
        read_image(tmp_path / "crashed.tif")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


def test_the_content_decides_not_the_suffix(tmp_path):
    saved(tmp_path / "a.png", "RGB").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), RGB)


def test_masks_are_what_is_not_zero(tmp_path):
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True
    colored = np.zeros((6, 8, 4), np.uint8)
    colored[mask] = (0, 0, 9, 0)
    colored[..., 3] = 255  # alpha is everywhere and means nothing
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "ones.png")
    Image.fromarray(mask).save(tmp_path / "bits.png")
    Image.fromarray(colored).save(tmp_path / "rgba.png")
    for name in ("ones", "bits", "rgba"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), mask)
        offset, window, size = read_mask_window(tmp_path / f"{name}.png")
        assert offset == (2, 3) and size == (6, 8)
        assert window.shape == (2, 4) and window.all() and window.dtype == bool
