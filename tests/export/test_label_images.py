"""Label images and stacks of them are read back by tifffile and give the same masks."""

import numpy as np
import pytest
import tifffile

from nucdet.export import (
    LabelPlane,
    StackLayout,
    label_image,
    write_label_image,
    write_label_stack,
)
from nucdet.structures import CroppedMasks


def test_label_image_is_16_bit_and_compressed(tmp_path, masks, labels):
    path = tmp_path / "a_label.tif"
    write_label_image(path, masks)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        stored = tiff.asarray()
    assert stored.dtype == np.uint16
    assert np.array_equal(stored, labels)


def test_label_image_without_masks_is_all_background(tmp_path, no_masks):
    write_label_image(tmp_path / "a.tif", no_masks)
    stored = tifffile.imread(tmp_path / "a.tif")
    assert stored.shape == (5, 4)
    assert not stored.any()


def test_label_image_of_more_than_65535_masks_is_32_bit(tmp_path):
    side = 512
    dots = np.zeros((side, side), np.int32)
    dots[::2, ::2] = np.arange(1, (side // 2) ** 2 + 1).reshape(side // 2, -1)
    masks = CroppedMasks.from_label_map(dots)
    write_label_image(tmp_path / "full.tif", masks[:65_535])
    assert tifffile.imread(tmp_path / "full.tif").dtype == np.uint16
    write_label_image(tmp_path / "over.tif", masks[:65_536])
    stored = tifffile.imread(tmp_path / "over.tif")
    assert stored.dtype == np.uint32
    assert stored.max() == 65_536
    assert np.array_equal(stored, dots)


def test_large_label_image_is_painted_in_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(label_image, "TILED_FROM", 0)
    monkeypatch.setattr(label_image, "TILE", 16)
    labels = np.kron(np.arange(1, 21).reshape(4, 5), np.ones((13, 9), np.int32))
    labels[::7] = 0
    write_label_image(tmp_path / "a.tif", CroppedMasks.from_label_map(labels))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages[0].is_tiled
        assert np.array_equal(tiff.asarray(), labels)


@pytest.mark.parametrize("tiled", [False, True])
def test_overlapping_masks_keep_the_lower_label_on_top(tmp_path, monkeypatch, tiled):
    if tiled:
        monkeypatch.setattr(label_image, "TILED_FROM", 0)
    dense = np.zeros((2, 1, 4), bool)
    dense[0, 0, 1:3] = dense[1, 0, 2:] = True
    write_label_image(tmp_path / "a.tif", CroppedMasks.from_dense(dense))
    assert tifffile.imread(tmp_path / "a.tif").tolist() == [[0, 1, 1, 2]]


def test_pixel_size_becomes_the_resolution(tmp_path, masks):
    write_label_image(tmp_path / "a.tif", masks, pixel_size=0.25)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        tags = tiff.pages[0].tags
        assert tags["XResolution"].value == (40_000, 1)
        assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


@pytest.mark.parametrize("tiled", [False, True])
def test_a_label_stack_has_axes_and_one_number_a_nucleus(tmp_path, monkeypatch, tiled):
    if tiled:
        monkeypatch.setattr(label_image, "TILED_FROM", 0)
        monkeypatch.setattr(label_image, "TILE", 16)
    labels = np.kron(np.arange(1, 21).reshape(4, 5), np.ones((13, 9), np.int32))
    masks = [CroppedMasks.from_label_map(plane) for plane in (labels, 0 * labels, labels)]
    # the last plane continues the nuclei of the first, in another order
    numbers = [range(1, 21), (), range(20, 0, -1)]
    planes = [LabelPlane(*plane) for plane in zip(masks, numbers, strict=True)]
    layout = StackLayout("Z", (3,), (52, 45), 20)
    for name in ("a.ome.tif", "b/a.ome.tif"):
        write_label_stack(tmp_path / name, planes, layout, 0.25, 1.5)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.series[0].axes == "ZYX" and tiff.pages[0].is_tiled is tiled
        assert 'PhysicalSizeY="0.25" PhysicalSizeYUnit="µm"' in tiff.ome_metadata
        assert 'PhysicalSizeZ="1.5" PhysicalSizeZUnit="µm"' in tiff.ome_metadata
        first, empty, last = tiff.asarray()
        assert first.dtype == np.uint16
    np.testing.assert_array_equal(first, labels)
    assert not empty.any()
    np.testing.assert_array_equal(last, 21 - labels)
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b/a.ome.tif").read_bytes()


def test_a_label_stack_of_more_than_65535_masks_is_32_bit(tmp_path):
    side = 512
    dots = np.zeros((side, side), np.int32)
    dots[::2, ::2] = np.arange(1, (side // 2) ** 2 + 1).reshape(side // 2, -1)
    masks = CroppedMasks.from_label_map(dots)[:40_000]
    planes = [LabelPlane(masks, range(first, first + 40_000)) for first in (1, 40_001)]
    layout = StackLayout("Z", (2,), (side, side), 80_000)
    write_label_stack(tmp_path / "a.ome.tif", planes, layout)
    stored = tifffile.imread(tmp_path / "a.ome.tif")
    assert stored.dtype == np.uint32 and stored.max() == 80_000
