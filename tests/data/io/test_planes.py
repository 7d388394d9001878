"""Any image file plane by plane: in their order, with all channels, and not all at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile

from nucdet.data.conversion.synthetic_images import draw_image
from nucdet.data.image_kinds import FLUORESCENCE
from nucdet.data.io import windows
from nucdet.data.io.choice import Choice
from nucdet.data.io.planes import LargePlane, distinct_names, open_planes, open_windows
from nucdet.data.io.windows import ImageWindows
from nucdet.errors import InputError

WHOLE = np.s_[0:64, 0:64]
NUCLEI = draw_image(np.random.default_rng(0), 64, FLUORESCENCE)[0][..., 0]
FILM = np.arange(2 * 3 * 4 * 6 * 5, dtype=np.uint16).reshape(2, 3, 4, 6, 5)


def values(path, **choice):
    return open_windows(path, Choice(**choice)).values(WHOLE)


def test_a_single_plane_ignores_the_choice_and_rgb_stays_rgb(tmp_path):
    rgb = np.stack([NUCLEI, NUCLEI // 2, NUCLEI // 3], axis=-1)
    tifffile.imwrite(tmp_path / "grey.tif", NUCLEI)
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb")
    for choice in ({"z": 3, "time": 2, "scene": 1}, {"z": "all", "time": "all"}):
        grey = values(tmp_path / "grey.tif", channel="DAPI", **choice)
        np.testing.assert_array_equal(grey, NUCLEI)
        np.testing.assert_array_equal(values(tmp_path / "rgb.tif", **choice), rgb)


@pytest.mark.parametrize("color", ["red", "Green", "b", 0, 1, 2])
@pytest.mark.parametrize("large", [False, True])
def test_a_color_of_rgb(tmp_path, monkeypatch, color, large):
    if large:  # read by windows
        monkeypatch.setattr(windows, "WHOLE_PIXELS", 100)
    rgb = np.stack([NUCLEI, NUCLEI // 2, NUCLEI // 3], axis=-1).astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "rgb.tif", rgb, photometric="rgb", compression="zlib")
    number = {"red": 0, "Green": 1, "b": 2}.get(color, color)
    source = open_windows(tmp_path / "rgb.tif", Choice(color), "percentile")
    np.testing.assert_array_equal(source.values(WHOLE), rgb[..., number])
    # the other colors have no say in its scale, but are measured
    alone = ImageWindows(rgb[..., number], normalize="percentile")
    np.testing.assert_array_equal(source.read(WHOLE), alone.read(WHOLE))
    assert source.channel_names == ("r", "g", "b")
    np.testing.assert_array_equal(source.channel_reader()(WHOLE), np.moveaxis(rgb, 2, 0))


@pytest.mark.parametrize("channel", [1, "B"])
def test_one_of_several_rgb_channels_keeps_its_colors(tmp_path, channel):
    rgb = np.stack([NUCLEI, NUCLEI // 2, NUCLEI // 3], axis=-1)
    tifffile.imwrite(
        tmp_path / "two.ome.tif",
        np.stack([rgb[::-1], rgb]),
        photometric="rgb",
        metadata={"axes": "CYXS", "Channel": {"Name": ["A", "B"]}},
    )
    np.testing.assert_array_equal(values(tmp_path / "two.ome.tif", channel=channel), rgb)


def test_a_color_that_rgb_has_not(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 9, 9, 3), np.uint8), photometric="rgb")
    for color in ("DAPI", 3):
        message = f"no channel {color}; its channels are 0 red, 1 green, 2 blue"
        with pytest.raises(InputError, match=message):
            open_windows(tmp_path / "a.tif", Choice(color, 0))


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "tile": (16, 16)},
        {"byteorder": ">"},
        {"compression": "zlib", "byteorder": ">", "bigtiff": True},
    ],
    ids=["plain", "strips", "tiles", "big endian", "big endian strips"],
)
@pytest.mark.parametrize("large", [False, True])
def test_all_planes_of_a_film(tmp_path, monkeypatch, layout, large):
    if large:  # read by windows
        monkeypatch.setattr(windows, "WHOLE_PIXELS", 10)
    path = tmp_path / "film.ome.tif"
    metadata = {"axes": "TCZYX", "Channel": {"Name": ["GFP", "DAPI", "Cy5"]}}
    tifffile.imwrite(path, FILM, ome=True, metadata=metadata, photometric="minisblack", **layout)
    planes = open_planes(path, Choice("dapi", "all", "all"))
    assert (planes.axes, planes.lengths, len(planes)) == ("TZ", (2, 4), 8)
    assert planes.places == [(time, z) for time in range(2) for z in range(4)]
    for plane in planes:
        time, z = plane.place
        assert isinstance(plane, LargePlane) is large
        np.testing.assert_array_equal(plane.values(plane.whole()), FILM[time, 1, z])
        assert plane.channel_names == ("GFP", "DAPI", "Cy5")
        box = np.s_[1:4, 0:3]
        np.testing.assert_array_equal(plane.channel_reader()(box), FILM[time, :, z][:, *box])
    film = open_planes(path, Choice(2, "max", "all"))
    assert (film.axes, film.places) == ("T", [(0, "max"), (1, "max")])
    every = film[1].channel_reader()(film[1].whole())
    np.testing.assert_array_equal(every, FILM[1].max(axis=1))
    (only,) = open_planes(path, Choice(np.int64(1), np.int64(3), np.int64(1))).places
    assert only == (1, 3) and type(only.z) is int
    for strange in (1.5, -1, 4):
        with pytest.raises(InputError, match=f"no number {strange} among its depths, 0 to 3"):
            open_planes(path, Choice(1, strange, 0))
    with pytest.raises(InputError, match="holds 8 planes; choose one"):
        open_windows(path, Choice(0, "all", "all"))


def test_a_plane_at_a_time_is_in_memory(tmp_path):
    """64 planes of 1 MB; their list is opened and read with less than four of them."""
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((64, 1024, 1024), np.uint8),
        photometric="minisblack",
        compression="zlib",
    )
    tracemalloc.start()
    planes = open_planes(tmp_path / "a.tif", Choice(z="all"))
    total = sum(int(plane.values(plane.whole()).sum()) for plane in planes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (total, len(planes)) == (0, 64)
    assert peak < 4 << 20


def test_channels_without_distinct_names_are_numbered():
    assert distinct_names(["", "", "DAPI"]) == ("0", "1", "DAPI")
    assert distinct_names(["dapi", "DAPI", "a\nb"]) == ("dapi 0", "DAPI 1", "a b")
    assert distinct_names(["DAPI"]) == ("",)
    # the columns of both would be mean_intensity_DAPI_405
    assert distinct_names(["DAPI 405", "DAPI_405"]) == ("DAPI 405 0", "DAPI_405 1")
    assert distinct_names(["a", "a", "a 0"]) == ("a 0", "a 1", "a 0 2")


def test_a_file_whose_notes_cannot_be_read_is_closed(tmp_path, monkeypatch):
    path, opened, open_tiff = tmp_path / "a.ome.tif", [], tifffile.TiffFile
    tifffile.imwrite(path, NUCLEI, metadata={"axes": "YX", "PhysicalSizeX": "wide"})

    def remembered(*args, **options):
        opened.append(open_tiff(*args, **options))
        return opened[-1]

    monkeypatch.setattr(tifffile, "TiffFile", remembered)
    np.testing.assert_array_equal(values(path), NUCLEI)
    assert opened[0].filename == path.name and opened[0].filehandle.closed
