"""What is read from label maps, also those of other tools."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucdet.data.io.label_maps import read_label_map
from nucdet.errors import InputError

# two nuclei that touch, a gap in the numbers
LABELS = np.array([[0, 0, 0, 0], [2, 2, 7, 7], [2, 2, 7, 7]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32])
def test_every_depth_gives_the_same_labels(tmp_path, dtype):
    stored = LABELS.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored[None], photometric="minisblack", compression="zlib")
    np.save(tmp_path / "a.npy", stored)
    written = ["a.tif", "a.npy"]
    if dtype in (np.uint8, np.uint16):
        Image.fromarray(stored).save(tmp_path / "a.png")
        written.append("a.png")
    for name in written:
        labels = read_label_map(tmp_path / name, (3, 4))
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, LABELS)


def test_indices_of_a_palette_are_the_labels(tmp_path):
    image = Image.fromarray(LABELS.astype(np.uint8), mode="P")
    image.putpalette([200, 30, 90] * 256)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), LABELS)


def test_labels_beyond_int32_are_numbered_anew(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 3_000_000_000, 5]], np.uint32))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), [[0, 2, 1]])


def test_seg_npy_of_cellpose(tmp_path):
    content = {
        "outlines": LABELS.astype(np.uint16),
        "masks": LABELS.astype(np.uint16),
        "filename": tmp_path / "a.tif",
        "flows": [np.zeros((1, 3, 4), np.uint8), []],
        "diameter": np.float64(12.5),
        "ismanual": np.zeros(2, bool),
    }
    np.save(tmp_path / "a_seg.npy", content)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a_seg.npy"), LABELS)


class _Command:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_label_file",)


def test_a_npy_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a_seg.npy", {"masks": LABELS, "more": _Command()})
    with pytest.raises(InputError, match=r"a_seg\.npy: damaged.*mkdir, which is no array"):
        read_label_map("a_seg.npy")
    assert not Path("made_by_a_label_file").exists()
    with pytest.raises(InputError, match="no dict with 'masks'"):
        (tmp_path / "b_seg.npy").write_bytes(
            (tmp_path / "a_seg.npy").read_bytes()[:128] + pickle.dumps([1])
        )
        read_label_map("b_seg.npy")


def _color(path):
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.png", _color, r"a\.png: in color \(3 channels\); expected a label map: one channel"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.zeros((5, 3, 6), np.uint8)), r"\(5, 3, 6\)"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.full((3, 4), 0.5, "f")), "no whole numbers"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.full((3, 4), -1, np.int16)), "the label -1"),
        ("a.npy", lambda p: np.save(p, np.zeros((4, 3), int)), "4x3 pixels.* its image has 3x4"),
        ("a.png", lambda p: p.write_text("labels"), "not an image that can be read"),
        ("a.npy", lambda p: p.write_text("labels"), "damaged or cut short"),
        ("a.tif", lambda p: p.touch(), "damaged or cut short"),
    ],
)
def test_what_is_no_label_map_is_named(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        read_label_map(tmp_path / name, (3, 4))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_label_map_that_pillow_finds_too_large(tmp_path, monkeypatch):
    labels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    Image.fromarray(labels).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), labels)
