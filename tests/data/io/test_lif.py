"""LIF through bioio, with a file put together here after the format's description.

There is no library that writes LIF, so this shows that axes, names, scenes and sizes arrive, not
that every file of a microscope can be read.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from nucdet.data.io.choice import Choice
from nucdet.data.io.planes import open_planes
from nucdet.errors import InputError

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


def test_lif(tmp_path):
    pytest.importorskip("bioio_lif")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 16, 20)).astype(np.uint8)
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
