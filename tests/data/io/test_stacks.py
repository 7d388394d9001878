"""Files with channels, depths and times: the plane that is chosen is the one that was written."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile

from nucdet.data.conversion.synthetic_images import draw_image
from nucdet.data.image_kinds import FLUORESCENCE
from nucdet.data.io.choice import Choice
from nucdet.data.io.planes import open_windows
from nucdet.errors import InputError

WHOLE = np.s_[0:64, 0:64]
NUCLEI = draw_image(np.random.default_rng(0), 64, FLUORESCENCE)[0][..., 0]


def stack(*lead: int, nuclei: tuple[int, ...]) -> np.ndarray:
    """Noise, and drawn nuclei in one plane."""
    pixels = np.random.default_rng(1).integers(0, 9, (*lead, 64, 64)).astype(np.uint8)
    pixels[nuclei] = NUCLEI
    return pixels


def values(path, **choice):
    return open_windows(path, Choice(**choice)).values(WHOLE)


def write_ome(path, pixels, axes, names):
    sizes = {f"PhysicalSize{s}": 0.25 for s in "XY"} | {f"PhysicalSize{s}Unit": "µm" for s in "XY"}
    tifffile.imwrite(
        path, pixels, ome=True, metadata={"axes": axes, "Channel": {"Name": names}, **sizes}
    )


def test_ome_tiff_with_channels_and_depths(tmp_path):
    path = tmp_path / "a.ome.tif"
    pixels = stack(3, 4, nuclei=(1, 2))
    write_ome(path, pixels, "CZYX", ["GFP", "DAPI", "Cy5"])
    np.testing.assert_array_equal(values(path, channel="dapi", z=2), NUCLEI)
    np.testing.assert_array_equal(values(path, channel=1, z="max"), pixels[1].max(axis=0))
    mean = values(path, channel=1, z="mean")
    assert mean.dtype == np.uint8
    np.testing.assert_array_equal(mean, np.rint(pixels[1].mean(axis=0)))
    assert open_windows(path, Choice(1, 0)).pixel_size == 0.25
    with pytest.raises(InputError, match=r"3 channels \(0 GFP, 1 DAPI, 2 Cy5\).*--channel"):
        values(path, z=0)
    with pytest.raises(InputError, match="no channel Hoechst; its channels are 0 GFP"):
        values(path, channel="Hoechst", z=0)
    with pytest.raises(InputError, match=r"holds 4 depths; choose with --z"):
        values(path, channel=1)
    with pytest.raises(InputError, match=r"no number 4 among its depths, 0 to 3"):
        values(path, channel=1, z=4)


def test_ome_tiff_with_times_and_channels(tmp_path):
    path = tmp_path / "a.ome.tif"
    write_ome(path, stack(2, 3, nuclei=(1, 2)), "TCYX", ["a", "b", "c"])
    # there is one depth: what is said of depths does not matter
    np.testing.assert_array_equal(values(path, channel=2, time=1, z=7), NUCLEI)
    with pytest.raises(InputError, match="holds 2 times; choose with --time"):
        values(path, channel=2)


def test_imagej_hyperstack_and_composite(tmp_path):
    options = {"imagej": True, "resolution": (4, 4)}
    tifffile.imwrite(
        tmp_path / "hyper.tif",
        stack(2, 3, 2, nuclei=(1, 2, 0)),
        metadata={"axes": "TZCYX", "unit": "um"},
        **options,
    )
    np.testing.assert_array_equal(values(tmp_path / "hyper.tif", time=1, z=2, channel=0), NUCLEI)
    assert open_windows(tmp_path / "hyper.tif", Choice(0, 0, 0)).pixel_size == 0.25
    tifffile.imwrite(
        tmp_path / "composite.tif",
        stack(3, nuclei=(2,)),
        metadata={"axes": "CYX", "mode": "composite"},
        **options,
    )
    np.testing.assert_array_equal(values(tmp_path / "composite.tif", channel=2), NUCLEI)
    # without a unit the resolution means nothing
    assert open_windows(tmp_path / "composite.tif", Choice(2)).pixel_size is None


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_within_a_page(tmp_path, planar):
    pixels = stack(5, nuclei=(3,))
    if planar == "contig":
        pixels = np.moveaxis(pixels, 0, -1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig=planar)
    np.testing.assert_array_equal(values(path, channel=3), NUCLEI)
    with pytest.raises(InputError, match="holds 5 channels"):
        values(path)


def test_a_single_plane_ignores_the_choice_and_rgb_stays_rgb(tmp_path):
    rgb = np.stack([NUCLEI, NUCLEI // 2, NUCLEI // 3], axis=-1)
    tifffile.imwrite(tmp_path / "grey.tif", NUCLEI)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb")
    choice = {"z": 3, "time": 2, "scene": 1}
    np.testing.assert_array_equal(values(tmp_path / "grey.tif", channel="DAPI", **choice), NUCLEI)
    np.testing.assert_array_equal(values(tmp_path / "rgb.tif", **choice), rgb)


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_nonsense_sizes_of_pixels_are_left_out(tmp_path, size):
    metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
    tifffile.imwrite(tmp_path / "a.ome.tif", NUCLEI, ome=True, metadata=metadata)
    assert open_windows(tmp_path / "a.ome.tif").pixel_size is None


def test_formats_that_cannot_be_read_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "a.svs").touch()
    with pytest.raises(InputError, match=r"a\.svs: \.svs files are not read; export .* OME-TIFF"):
        values(tmp_path / "a.svs")
    monkeypatch.setitem(sys.modules, "bioio_czi", None)
    (tmp_path / "a.czi").touch()
    with pytest.raises(InputError, match=r"a\.czi: .*bioio-czi .*pip install 'nucdet\[formats\]'"):
        values(tmp_path / "a.czi")


def test_czi(tmp_path):
    pytest.importorskip("bioio_czi")
    writer = pytest.importorskip("pylibCZIrw.czi")
    path = tmp_path / "a.czi"
    pixels = stack(2, 3, nuclei=(1, 2))
    with writer.create_czi(str(path)) as czi:
        for c in range(2):
            for z in range(3):
                czi.write(data=pixels[c, z][..., None], plane={"C": c, "Z": z, "T": 0})
        czi.write_metadata(channel_names={0: "GFP", 1: "DAPI"}, scale_x=2.5e-7, scale_y=2.5e-7)
    np.testing.assert_array_equal(values(path, channel="DAPI", z=2), NUCLEI)
    assert open_windows(path, Choice(0, 0)).pixel_size == pytest.approx(0.25)
    with pytest.raises(InputError, match=r"2 channels \(0 GFP, 1 DAPI\)"):
        values(path)
