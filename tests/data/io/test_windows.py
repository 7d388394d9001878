"""Windows of images: the same pixels whether a file is read whole or by parts."""

from __future__ import annotations

import gc
import os
import weakref

import numpy as np
import pytest
import tifffile

from nucdet.data.io import normalization, windows
from nucdet.data.io.choice import Choice
from nucdet.data.io.planes import open_windows
from nucdet.data.io.reading import read_image
from nucdet.data.io.windows import ImageWindows, TiffWindows
from nucdet.errors import InputError

BOXES = [np.s_[0:70, 0:90], np.s_[13:14, 89:90], np.s_[31:67, 5:80], np.s_[60:70, 0:16]]


@pytest.fixture(autouse=True)
def read_by_windows(monkeypatch):
    monkeypatch.setattr(windows, "WHOLE_PIXELS", 100)
    monkeypatch.setattr(normalization, "WHOLE_PIXELS", 100)
    monkeypatch.setattr(normalization, "_SAMPLE_SIDE", 200)  # the sample is the image


@pytest.mark.parametrize("normalize", ["none", "percentile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": "zlib", "rowsperstrip": 7},
        {"compression": "lzw", "predictor": True, "tile": (16, 32)},
        {"tile": (16, 32)},
        {"byteorder": ">"},
    ],
    ids=["plain", "strips", "tiles", "plain tiles", "big endian"],
)
def test_a_tiff_by_windows_is_the_tiff(tmp_path, dtype, channels, layout, normalize):
    values = np.random.default_rng(0).integers(0, 250, (70, 90, *channels)).astype(dtype)
    photometric = "rgb" if channels else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, **layout)
    source = open_windows(tmp_path / "a.tif", normalize=normalize)
    assert isinstance(source, TiffWindows) and source.size == (70, 90)
    whole = read_image(tmp_path / "a.tif", normalize=normalize)
    for box in BOXES:
        np.testing.assert_array_equal(
            source.values(box), values[..., :3][box] if channels else values[box]
        )
        np.testing.assert_array_equal(source.read(box), whole[box])


def test_rows_are_read_where_there_is_no_preadv(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)  # as on Windows
    values = np.random.default_rng(0).integers(0, 250, (70, 90), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values)
    np.testing.assert_array_equal(
        open_windows(tmp_path / "a.tif").values(BOXES[2]), values[BOXES[2]]
    )


def test_the_scale_of_a_large_file_comes_from_all_over_it(tmp_path, monkeypatch):
    monkeypatch.setattr(normalization, "_SAMPLE_SIDE", 4)
    values = np.linspace(1000, 2000, 70 * 90).reshape(70, 90).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values)
    read = open_windows(tmp_path / "a.tif").read(BOXES[0]).astype(int)
    assert abs(read - read_image(tmp_path / "a.tif")).max() <= 8


def test_a_sampled_stretch_does_not_depend_on_how_a_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(normalization, "_SAMPLE_SIDE", 4)
    values = np.random.default_rng(0).gamma(2, 300, (70, 90)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, tile=(16, 32))
    whole = read_image(tmp_path / "a.tif", normalize="percentile")
    source = open_windows(tmp_path / "a.tif", normalize="percentile")
    array = ImageWindows(values.astype(np.float64), normalize="percentile")
    for box in BOXES:
        np.testing.assert_array_equal(source.read(box), whole[box])
        np.testing.assert_array_equal(array.read(box), whole[box])


def test_other_files_and_small_ones_are_read_whole(tmp_path, monkeypatch):
    values = np.arange(6300, dtype=np.uint8).reshape(70, 90)
    tifffile.imwrite(
        tmp_path / "planes.tif", np.stack([values] * 3), photometric="rgb", planarconfig="separate"
    )
    assert not isinstance(open_windows(tmp_path / "planes.tif"), TiffWindows)
    monkeypatch.setattr(windows, "WHOLE_PIXELS", 6300)
    tifffile.imwrite(tmp_path / "small.tif", values)
    assert not isinstance(open_windows(tmp_path / "small.tif"), TiffWindows)


def test_pages(tmp_path):
    values = np.random.default_rng(0).integers(0, 250, (3, 70, 90), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    np.testing.assert_array_equal(
        open_windows(tmp_path / "a.tif", Choice(z=2)).values(BOXES[2]), values[2][BOXES[2]]
    )
    with pytest.raises(InputError, match="3 depths"):
        open_windows(tmp_path / "a.tif")
    with pytest.raises(InputError, match="no number 3"):
        open_windows(tmp_path / "a.tif", Choice(z=3))


@pytest.mark.parametrize("layout", [{}, {"compression": "zlib", "tile": (16, 32)}])
def test_a_file_cut_short(tmp_path, layout):
    values = np.random.default_rng(0).integers(0, 250, (70, 90), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, metadata=None, **layout)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.tif: damaged"):
        open_windows(tmp_path / "a.tif").values(BOXES[0])


@pytest.mark.parametrize("layout", [{}, {"compression": "zlib", "tile": (16, 32)}])
def test_what_was_decoded_is_freed_with_its_image(tmp_path, layout):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((70, 90), np.uint8), **layout)
    source = open_windows(tmp_path / "a.tif")
    source.values(BOXES[0])
    left = weakref.ref(source)
    gc.disable()
    try:
        del source
        assert left() is None
    finally:
        gc.enable()


def test_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_windows(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_bytes(b"II*\0 hello")
    with pytest.raises(InputError, match=r"text\.tif"):
        open_windows(tmp_path / "text.tif")


def test_an_array():
    source = ImageWindows(np.full((4, 5, 4), 9, np.uint8))
    assert source.size == (4, 5) and source.whole() == np.s_[0:4, 0:5]
    assert source.values(np.s_[1:3, 0:5]).shape == (2, 5, 3)
    assert source.read(np.s_[1:3, 0:5]).tolist() == [[[9] * 3] * 5] * 2
