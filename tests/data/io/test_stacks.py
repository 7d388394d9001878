"""TIFFs with scenes, channels, depths and times: the plane that is chosen is the one written."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nucdet.data.conversion.synthetic_images import draw_image
from nucdet.data.image_kinds import FLUORESCENCE
from nucdet.data.io.choice import Choice
from nucdet.data.io.planes import open_planes, open_windows
from nucdet.errors import InputError

WHOLE = np.s_[0:64, 0:64]
NUCLEI = draw_image(np.random.default_rng(0), 64, FLUORESCENCE)[0][..., 0]

FILM = np.arange(2 * 3 * 4 * 6 * 5, dtype=np.uint16).reshape(2, 3, 4, 6, 5)


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


def test_two_axes_without_a_name_are_depths_and_times(tmp_path):
    pixels = np.arange(3 * 2 * 64 * 64, dtype=np.uint16).reshape(3, 2, 64, 64)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "QQYX"})
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.series[0].axes == "QQYX"
    planes = list(open_planes(tmp_path / "a.tif", Choice(z="all", time="all")))
    assert [plane.place for plane in planes] == [(t, z) for t in range(2) for z in range(3)]
    for plane in planes:
        np.testing.assert_array_equal(plane.values(WHOLE), pixels[plane.place.z, plane.place.time])


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


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    "kind", [{}, {"ome": True}, {"imagej": True}], ids=["plain", "ome", "imagej"]
)
def test_a_stack_that_is_cut_short_is_no_single_image(tmp_path, kind, compression):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 50, 50)).astype(np.uint8)
    options = {"photometric": "minisblack", "compression": compression, **kind}
    tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"}, **options)
    np.testing.assert_array_equal(
        open_windows(path, Choice(z=4)).values(np.s_[0:50, 0:50]), pixels[4]
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a\.tif: (cut short|damaged|holds)"):
        planes = open_planes(path, Choice(z="all"))
        assert len(planes) == 5
        planes[4]


def test_a_large_file_of_imagej_has_one_page_for_all(tmp_path):
    """What ImageJ writes above 4 GB: one directory, and all planes behind each other."""
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 999, (4, 6, 5)).astype(np.uint16)
    description = "ImageJ=1.54f\nimages=4\nslices=4\nloop=false\n"
    tifffile.imwrite(
        path,
        pixels[0],
        photometric="minisblack",
        metadata=None,
        byteorder=">",
        description=description,
    )
    with path.open("ab") as file:
        file.write(pixels[1:].astype(">u2").tobytes())
    planes = open_planes(path, Choice(z="all"))
    assert (planes.axes, len(planes)) == ("Z", 4)
    for number in range(4):
        np.testing.assert_array_equal(planes[number].values(np.s_[0:6, 0:5]), pixels[number])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"a\.tif: cut short: holds 1 of 4"):
        open_planes(path, Choice(z="all"))
    # the note of a stack, on one of its planes that another program has saved alone
    path.write_bytes(whole[: -3 * pixels[0].nbytes])
    assert len(open_planes(path)) == 1


def test_labels_of_imagej_slices_name_the_channels(tmp_path):
    labels = ["DAPI", "GFP"] * 3
    for name, texts in (("named", labels), ("other", [*labels[:5], "x"])):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            np.zeros((3, 2, 9, 9), np.uint8),
            imagej=True,
            metadata={"axes": "ZCYX", "Labels": texts},
        )
    assert open_planes(tmp_path / "named.tif", Choice("gfp", 0))[0].channel_names == ("DAPI", "GFP")
    with pytest.raises(InputError, match=r"2 channels \(0, 1\)"):
        open_planes(tmp_path / "other.tif", Choice(z=0))


def test_scenes_of_a_file(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        left = {"axes": "ZYX", "Name": "left", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        right = {"axes": "CYX", "Name": "right", "Channel": {"Name": ["a", "b"]}}
        writer.write(FILM[0, 0], metadata=left, photometric="minisblack")
        writer.write(FILM[0, :2, 0], metadata=right, photometric="minisblack")
    box = np.s_[0:6, 0:5]
    scene = open_windows(path, Choice("b", scene="Right"))
    np.testing.assert_array_equal(scene.values(box), FILM[0, 1, 0])
    # names and pixel size are those of the scene
    assert (scene.pixel_size, scene.channel_names) == (None, ("a", "b"))
    planes = open_planes(path, Choice(z="all", scene=0))
    assert (planes.axes, len(planes), planes[0].pixel_size) == ("Z", 4, 0.5)
    with pytest.raises(InputError, match=r"holds 2 scenes \(0 left, 1 right\); .*--scene K"):
        open_windows(path, Choice(z=0))
    for scene in ("middle", 2):
        with pytest.raises(InputError, match=f"no scene {scene}; its scenes are 0 left, 1 right"):
            open_windows(path, Choice(z=0, scene=scene))


# of 1.3e-6 a label image's resolution cannot be written
@pytest.mark.parametrize("size", [1e-9, 1.3e-6, 1e9, "0,325", "nan", ""])
def test_nonsense_sizes_of_pixels_are_left_out(tmp_path, size):
    metadata = {"axes": "ZYX", "PhysicalSizeX": size, "PhysicalSizeY": size}
    planes = np.stack([NUCLEI, NUCLEI])
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, ome=True, metadata=metadata)
    assert open_windows(tmp_path / "a.ome.tif", Choice(z=1)).pixel_size is None


@pytest.mark.parametrize("unit", ["um", "micron", "microns", "\\u00B5m"])
def test_micrometres_by_any_name(tmp_path, unit):
    options = {"imagej": True, "resolution": (4, 4), "metadata": {"unit": unit, "axes": "YX"}}
    tifffile.imwrite(tmp_path / "a.tif", NUCLEI, **options)
    assert open_windows(tmp_path / "a.tif").pixel_size == 0.25


@pytest.mark.parametrize("unit", ["\u00b5m", "\u03bcm"])  # the sign, and the Greek letter
def test_micrometres_in_ome(tmp_path, unit):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", NUCLEI, ome=True, metadata=metadata)
    assert open_windows(tmp_path / "a.ome.tif").pixel_size == 0.25


@pytest.mark.parametrize(
    ("z", "unit", "expected"), [(2.5, "µm", 2.5), (500, "nm", 0.5), (0, "µm", None)]
)
def test_distance_of_depths_of_ome(tmp_path, z, unit, expected):
    metadata = {"axes": "ZYX", "PhysicalSizeZ": z, "PhysicalSizeZUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 8, 9), np.uint8), metadata=metadata)
    planes = open_planes(tmp_path / "a.ome.tif", Choice(z="all"))
    assert planes.z_step == expected and planes[0].pixel_size is None


@pytest.mark.parametrize(("unit", "expected"), [("micron", 2.5), ("nm", 0.0025), ("pixel", None)])
def test_distance_of_depths_of_imagej(tmp_path, unit, expected):
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": unit}
    stack = np.zeros((3, 8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata=metadata)
    assert open_planes(tmp_path / "a.tif", Choice(z="all")).z_step == expected
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    assert open_planes(tmp_path / "b.tif", Choice(z="all")).z_step is None
