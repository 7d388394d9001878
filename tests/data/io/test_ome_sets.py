"""OME-TIFFs that are divided among several files."""

import warnings

import numpy as np
import pytest
import tifffile

from nucdet.data.io.choice import Choice
from nucdet.data.io.ome_sets import without_repetitions
from nucdet.data.io.planes import open_planes
from nucdet.errors import InputError

CHANNELS = '<Channel ID="Channel:{0}:0" Name="GFP"/><Channel ID="Channel:{0}:1" Name="DAPI"/>'
PLANE = (
    '<TiffData FirstC="{channel}" FirstT="{time}" IFD="{page}" PlaneCount="1">'
    '<UUID FileName="set{file}.ome.tif">urn:uuid:{file}</UUID></TiffData>'
)


def write_set(folder, scenes, sizes="", renamed=""):
    """Write a divided OME-TIFF of pixels 100 * scene + 10 * time + channel; return its files.

    Args:
        folder: to write to.
        scenes: for each scene, the file of each time and channel, (T, 2).
        sizes: of a pixel in each scene.
        renamed: put before the name of each file, but not in the metadata.
    """
    pages, images = {}, ""
    for scene, files in enumerate(scenes):
        planes = ""
        for (time, channel), file in np.ndenumerate(files):
            here = pages.setdefault(int(file), [])
            planes += PLANE.format(channel=channel, time=time, page=len(here), file=file)
            here.append(np.full((6, 8), 100 * scene + 10 * time + channel, np.uint16))
        size = f'PhysicalSizeX="{sizes[scene]}" PhysicalSizeY="{sizes[scene]}"' if sizes else ""
        images += (
            f'<Image ID="Image:{scene}" Name="position {scene}"><Pixels ID="Pixels:{scene}" '
            f'DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="6" SizeZ="1" SizeC="2" '
            f'SizeT="{len(files)}" {size}>{CHANNELS.format(scene)}{planes}</Pixels></Image>'
        )
    paths = []
    for file, planes in pages.items():
        schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
        xml = f'<OME xmlns="{schema}" UUID="urn:uuid:{file}">{images}</OME>'
        paths.append(folder / f"{renamed}set{file}.ome.tif")
        tifffile.imwrite(
            paths[-1], np.stack(planes), description=xml, metadata=None, photometric="minisblack"
        )
    return paths


def channel_values(path, **choice):
    """The value of each channel in each chosen plane."""
    planes = open_planes(path, Choice(**choice))
    read = [plane.channel_reader()(plane.whole()) for plane in planes]
    return [values[:, 0, 0].tolist() for values in read]


def test_a_film_is_read_from_the_first_of_its_files(tmp_path):
    files = write_set(tmp_path, [[(0, 0), (1, 1), (1, 1)]])
    assert without_repetitions(files) == files[:1]
    assert without_repetitions(files[1:]) == files[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # tifffile's, of a closed file
        for file in files:
            values = channel_values(file, channel="DAPI", time="all")
            assert values == [[0, 1], [10, 11], [20, 21]]
    files[0].unlink()
    assert without_repetitions(files[1:]) == files[1:]
    assert channel_values(files[1], channel="DAPI", time=1) == [[10, 11]]
    with pytest.raises(InputError, match=r"set1.ome.tif: damaged or cut short \(page 1 is missing"):
        channel_values(files[1], channel="DAPI", time=0)


def test_files_of_a_scene_each_are_read_as_that_scene(tmp_path):
    files = write_set(tmp_path, [[(0, 0)], [(1, 1)]], sizes=(0.5, 0.25))
    assert without_repetitions(files) == files
    assert [channel_values(file, channel="DAPI") for file in files] == [[[0, 1]], [[100, 101]]]
    assert [open_planes(f, Choice("GFP"))[0].pixel_size for f in files] == [0.5, 0.25]


def test_files_of_a_plane_each_are_images_of_their_own(tmp_path):
    files = write_set(tmp_path, [[(0, 1), (2, 3)]])
    assert without_repetitions(files) == files
    assert [channel_values(file) for file in files] == [[[0]], [[1]], [[10]], [[11]]]


def test_renamed_files_and_copies(tmp_path):
    one, copy = (write_set(tmp_path, [[(0, 0)]], renamed=name)[0] for name in ("", "copy of "))
    assert without_repetitions([copy, one]) == [copy, one]
    (tmp_path / "broken.ome.tif").write_bytes(one.read_bytes()[:100])
    assert without_repetitions([tmp_path / "broken.ome.tif", tmp_path / "none.ome.tif"])[1:]
