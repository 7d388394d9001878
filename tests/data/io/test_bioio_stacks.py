"""Formats of microscopes by bioio's readers, with the files that can be made without a microscope.

No library writes LIF, so its file is put together here after the format's description: that shows
that axes, names, scenes and sizes arrive, not that every file of a microscope can be read.
"""

from __future__ import annotations

import platform
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from nucdet.data.io.choice import Choice
from nucdet.data.io.planes import open_planes, open_windows
from nucdet.errors import InputError

WHOLE = np.s_[0:16, 0:20]

_CHANNEL = (
    '<ChannelDescription DataType="0" ChannelTag="0" Resolution="8" NameOfMeasuredQuantity="" '
    'Min="0" Max="255" Unit="" LUTName="{}" IsLUTInverted="0" BytesInc="{}" BitInc="0"/>'
)
_DIMENSION = (
    '<DimensionDescription DimID="{}" NumberOfElements="{}" Origin="0" Length="{}" Unit="m" '
    'BytesInc="{}" BitInc="0"/>'
)
_ELEMENT = (
    '<Element Name="{}"><Data><Image><ImageDescription><Channels>{}</Channels>'
    "<Dimensions>{}</Dimensions></ImageDescription></Image></Data>"
    '<Memory Size="{}" MemoryBlockID="MemBlock_{}"/></Element>'
)
_FILE = (
    '<LMSDataContainerHeader Version="2"><Element Name="a"><Children>{}</Children></Element>'
    "</LMSDataContainerHeader>"
)


def element(number: int, name: str, pixels: np.ndarray, channels: list[str], pixel: float) -> str:
    """The XML of one image."""
    _, z, y, x = pixels.shape
    named = (_CHANNEL.format(text, i * z * y * x) for i, text in enumerate(channels))
    axes = ((1, x, 1), (2, y, x), (3, z, x * y))  # X, Y, Z, and bytes from one to the next
    sized = (_DIMENSION.format(i, n, (n - 1) * pixel * 1e-6, step) for i, n, step in axes)
    return _ELEMENT.format(name, "".join(named), "".join(sized), pixels.size, number)


def write_lif(path: Path, scenes: dict[str, np.ndarray], channels: list[str], pixel: float) -> None:
    """Write uint8 (C, Z, Y, X) by name; the size of a pixel is in µm."""
    elements = (element(i, *scene, channels, pixel) for i, scene in enumerate(scenes.items()))
    text = _FILE.format("".join(elements)).encode("utf-16-le")
    with path.open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(text) // 2) + text)
        for number, pixels in enumerate(scenes.values()):
            name = f"MemBlock_{number}".encode("utf-16-le")
            head = (0x70, len(name) + 14, 0x2A, pixels.size, 0x2A, len(name) // 2)
            file.write(struct.pack("<IIBQBI", *head) + name + pixels.tobytes())


def noise(*lead: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*lead, 16, 20)).astype(np.uint8)


def test_formats_that_cannot_be_read_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "a.svs").touch()
    with pytest.raises(InputError, match=r"a\.svs: \.svs files are not read; export .* OME-TIFF"):
        open_windows(tmp_path / "a.svs")
    monkeypatch.setitem(sys.modules, "bioio_czi", None)
    (tmp_path / "a.czi").touch()
    for version, machine, remedy in [
        ((3, 11), "x86_64", r"pip install 'nucdet\[formats\]'"),
        ((3, 14), "x86_64", "Python 3.13 or older"),
        ((3, 11), "aarch64", "Linux on ARM; export the file as OME-TIFF"),
    ]:
        monkeypatch.setattr(sys, "version_info", version)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        with pytest.raises(InputError, match=rf"a\.czi: .*bioio-czi .*{remedy}"):
            open_windows(tmp_path / "a.czi")


def test_czi(tmp_path):
    pytest.importorskip("bioio_czi")
    writer = pytest.importorskip("pylibCZIrw.czi")
    path = tmp_path / "a.czi"
    pixels = noise(2, 3)
    with writer.create_czi(str(path)) as czi:
        for c in range(2):
            for z in range(3):
                czi.write(data=pixels[c, z][..., None], plane={"C": c, "Z": z, "T": 0})
        czi.write_metadata(channel_names={0: "GFP", 1: "DAPI"}, scale_x=2.5e-7, scale_y=2.5e-7)
    plane = open_windows(path, Choice("DAPI", 2))
    np.testing.assert_array_equal(plane.values(WHOLE), pixels[1, 2])
    np.testing.assert_array_equal(plane.channel_reader()(WHOLE), pixels[:, 2])
    assert open_windows(path, Choice(0, 0)).pixel_size == pytest.approx(0.25)
    with pytest.raises(InputError, match=r"2 channels \(0 GFP, 1 DAPI\)"):
        open_windows(path)


def test_dv(tmp_path):
    """Written by mrc, the library that also reads it: no file of a microscope."""
    pytest.importorskip("bioio_dv")
    writer = pytest.importorskip("mrc")
    pixels = noise(2, 3).astype(np.uint16)
    sizes = {"dx": 0.25, "dy": 0.25, "dz": 1.0}
    writer.imsave(str(tmp_path / "a.dv"), pixels, zAxisOrder="wz", metadata=sizes)
    planes = open_planes(tmp_path / "a.dv", Choice(1, "all"))
    assert (planes.axes, planes.lengths) == ("Z", (3,))
    assert planes[0].pixel_size == pytest.approx(0.25)
    np.testing.assert_array_equal(planes[2].values(WHOLE), pixels[1, 2])
    np.testing.assert_array_equal(planes[2].channel_reader()(WHOLE), pixels[:, 2])


def test_ome_zarr(tmp_path):
    writers = pytest.importorskip("bioio_ome_zarr.writers")
    path = tmp_path / "a.ome.zarr"
    pixels = noise(2, 2, 3)
    names = [writers.Channel(label=name, color="ffffff") for name in ("GFP", "DAPI")]
    writers.OMEZarrWriter(
        str(path),
        pixels.shape,
        pixels.dtype,
        channels=names,
        axes_names=list("tczyx"),
        axes_units=[None, None, *["micrometer"] * 3],
        physical_pixel_size=[1, 1, 2, 0.25, 0.25],
    ).write_full_volume(pixels)
    planes = open_planes(path, Choice("DAPI", "all", "all"))
    assert (planes.axes, planes.lengths) == ("TZ", (2, 3))
    np.testing.assert_array_equal(planes[5].values(WHOLE), pixels[1, 1, 2])
    np.testing.assert_array_equal(planes[4].channel_reader()(WHOLE), pixels[1, :, 1])
    assert (planes[0].channel_names, planes[0].pixel_size) == (("GFP", "DAPI"), 0.25)
    assert planes.z_step == 2


def test_lif(tmp_path):
    pytest.importorskip("bioio_lif")
    pixels = noise(2, 3)
    path = tmp_path / "a.lif"
    write_lif(path, {"left": pixels, "right": 255 - pixels}, ["Green", "Blue"], 0.25)
    planes = open_planes(path, Choice("blue", "all", scene="right"))
    assert (planes.axes, planes.lengths) == ("Z", (3,))
    assert planes[0].channel_names == ("Green", "Blue")
    assert planes[0].pixel_size == pytest.approx(0.25)
    for z, plane in enumerate(planes):
        np.testing.assert_array_equal(plane.values(plane.whole()), 255 - pixels[1, z])
        every = plane.channel_reader()(plane.whole())
        np.testing.assert_array_equal(every, 255 - pixels[:, z])
    with pytest.raises(InputError, match=r"holds 2 scenes \(0 left, 1 right\); .*--scene K"):
        open_planes(path, Choice(1, "all"))
