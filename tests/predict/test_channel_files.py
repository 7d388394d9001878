"""--channel-files: images with a file for each channel."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from nucdet.data.io.channel_files import open_files
from nucdet.data.io.choice import Choice
from nucdet.errors import InputError
from nucdet.predict.channel_files import join_channels
from nucdet.predict.inputs import InputFile, find_inputs
from nucdet.predict.metadata import read_metadata
from nucdet.predict.run import predict_images

PATTERN = "_w([0-9]).*"


def files(*names):
    return [InputFile(Path("/in") / name, name, name.partition(".")[0]) for name in names]


def joined(found):
    return {f.file_name: {name: path.name for name, path in f.channels} for f in found}


def test_files_whose_names_differ_in_the_channel_are_one_image(capsys):
    found = files("b/A1_w1.tif", "b/A1_w2x.tif", "A1_w1.ome.tif", "A2_w2.tif", "A2_w1g.png")
    assert joined(join_channels(found, PATTERN, "1")) == {
        "A1_w1.ome.tif": {"1": "A1_w1.ome.tif"},
        "A2_w1g.png": {"1": "A2_w1g.png", "2": "A2_w2.tif"},
        "b/A1_w1.tif": {"1": "A1_w1.tif", "2": "A1_w2x.tif"},
    }
    assert "left out" not in capsys.readouterr().out
    # the number from 0 of the second channel, and images without it
    assert list(joined(join_channels(found[:3], PATTERN, "2"))) == ["b/A1_w2x.tif"]
    assert "left out 1 of 3 files, as their images have no channel 2 (A1_w1.ome.tif)" in (
        capsys.readouterr().out
    )


def test_a_part_that_may_be_missing_is_the_channel_where_it_is_not():
    assert len(join_channels(files("a_w1.tif"), "_w([0-9])?", "1")) == 1


def test_folders_may_be_channels():
    found = join_channels(files("DAPI/1.tif", "GFP/1.tif"), "^(DAPI|GFP)/", "dapi")
    assert joined(found) == {"DAPI/1.tif": {"DAPI": "1.tif", "GFP": "1.tif"}}
    assert found[0].paths == (Path("/in/DAPI/1.tif"), Path("/in/GFP/1.tif"))


@pytest.mark.parametrize(
    ("names", "pattern", "channel", "message"),
    [
        (["a_w1.tif"], "_w(", None, "no regular expression (missing ), unterminated"),
        (["a_w1.tif"], "_w[0-9]", None, "has 0 (parts); expected one"),
        (["a_w1.tif", "b.tif"], PATTERN, "1", "found no channel in b.tif"),
        (["a_w.tif"], "_w([0-9])?", "1", "found no channel in a_w.tif"),
        (["a_w1.tif", "a_w1.png"], PATTERN, "1", "found the channel 1 of an image in a_w1.tif and "
         "in a_w1.png"),
        (["a_w1.tif", "a_w2.tif"], PATTERN, None, "holds 2 channels (0 1, 1 2); say which"),
        (["a_w1.tif", "a_w2.tif"], PATTERN, "3", "no channel 3; its channels are 0 1, 1 2"),
        (["a_w1x.tif", "a_w2y.tif"], "_w([0-9])", "1", "found no two channels of an image, as the "
         "names of files such as a_w1x.tif also differ"),
    ],
)  # fmt: skip
def test_mistakes_are_told(names, pattern, channel, message):
    with pytest.raises(InputError, match=re.escape(f"--channel-files {pattern}: {message}")):
        join_channels(files(*names), pattern, channel)


@pytest.mark.parametrize(
    ("one", "two", "channels"),
    [
        ("screen_B03_s2_w1A7F0-9C.tif", "screen_B03_s2_w2B900-11.tif", "12"),
        ("r02c03f04p01-ch1sk1fk1fl1.tiff", "r02c03f04p01-ch2sk1fk1fl1.tiff", "12"),
        ("MFGTMP_190301_B03f02d0.tif", "MFGTMP_190301_B03f02d1.tif", "01"),
        ("B - 03(fld 2 wv DAPI - DAPI).tif", "B - 03(fld 2 wv FITC - FITC).tif",
         ["DAPI - DAPI", "FITC - FITC"]),
        ("P1_B03_T0001F002L01A01Z01C01.tif", "P1_B03_T0001F002L01A02Z01C02.tif", ["01", "02"]),
    ],
)  # fmt: skip
def test_the_expressions_in_the_docs_fit_the_names_beside_them(repository, one, two, channels):
    text = (repository / "docs/microscope_files.md").read_text()
    row = next(line for line in text.splitlines() if f"`{one}`" in line)
    pattern, metadata = re.findall(r"`'(.*?)'`", row)
    (image,) = join_channels(files(one, two), pattern, channels[0])
    assert [name for name, _ in image.channels] == list(channels)
    known = read_metadata([metadata], [one])[one]
    well = known.get("well") or (known["row"], known["column"])
    assert well in ("B03", ("B", "03"), ("02", "03"))
    assert known["site"].lstrip("0") in ("2", "4")


@pytest.fixture
def plate(tmp_path):
    """Two wells of two channels, of which B has none of the second; w1 shows the nuclei."""
    folder = tmp_path / "plate"
    folder.mkdir()
    nucleus = np.zeros((20, 30), np.uint16)
    nucleus[5:10, 5:15] = 3000
    tifffile.imwrite(folder / "A_w1.tif", nucleus)
    tifffile.imwrite(folder / "B_w1.tif", nucleus)
    tifffile.imwrite(folder / "A_w2.tif", nucleus // 100 + np.arange(30, dtype=np.uint16))
    return folder


@pytest.fixture
def plate_job(plate, job, tmp_path):
    def make(**changes):
        found = join_channels(find_inputs([str(plate)], tmp_path / "out"), PATTERN, "1")
        return job(files=tuple(found), **{"save": ("csv", "label"), "channel": "1"} | changes)

    return make


def test_all_channels_are_measured_in_the_nuclei_of_one(plate_job, bright_is_nucleus):
    predict_images(plate_job(), bright_is_nucleus())
    out = plate_job().output
    table = pd.read_csv(out / "nuclei.csv")
    assert table["image"].tolist() == ["A_w1.tif", "B_w1.tif"]
    assert table["mean_intensity_1"].tolist() == [3000, 3000]
    assert table["mean_intensity_2"].tolist()[0] == 30 + np.arange(5, 15).mean()
    assert table["mean_intensity_2"].isna().tolist() == [False, True]
    assert sorted(path.name for path in out.glob("*.tif")) == ["A_w1_label.tif", "B_w1_label.tif"]


def test_resume_notices_another_file_of_an_image(plate, plate_job, bright_is_nucleus):
    predict_images(plate_job(), bright_is_nucleus())
    assert plate_job(resume=True).left_to_do() == []
    tifffile.imwrite(plate / "A_w2.tif", np.ones((20, 30), np.uint8))
    assert [file.name for file in plate_job(resume=True).left_to_do()] == ["A_w1"]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.zeros((20, 31), np.uint8),
            r"A_w2\.tif: is 31 × 20 pixels; expected 30 × 20, as .*A_w1",
        ),
        (np.zeros((20, 30, 3), np.uint8), r"A_w2\.tif: has 3 channels; expected one"),
        (np.zeros((2, 20, 30), np.uint8), r"A_w2\.tif: holds 2 depths; choose with --z"),
        (None, r"A_w2\.tif: .*empty"),
    ],
)
def test_a_channel_that_does_not_fit_fails_its_image(
    plate, plate_job, bright_is_nucleus, capsys, pixels, message
):
    (plate / "A_w2.tif").write_bytes(b"")
    if pixels is not None:
        tifffile.imwrite(plate / "A_w2.tif", pixels, metadata=None)
    predict_images(plate_job(), bright_is_nucleus())
    errors = pd.read_csv(plate_job().output / "summary.csv")["error"]
    assert errors.notna().tolist() == [True, False]
    assert re.search(message, errors[0])
    assert capsys.readouterr().err.count("failed: ") == 1


def test_planes_of_stacks_go_together(tmp_path):
    stack = np.arange(2 * 6 * 7, dtype=np.uint8).reshape(2, 6, 7)
    names = {"one": stack, "two": 255 - stack, "more": np.concatenate([stack, stack])}
    paths = {name: tmp_path / f"{name}.ome.tif" for name in names}
    for name, pixels in names.items():
        tifffile.imwrite(paths[name], pixels, metadata={"axes": "ZYX"})
    two = {name: paths[name] for name in ("two", "one")}
    planes = open_files(paths["one"], Choice(z="all"), two)
    assert (planes.axes, planes.lengths, planes.is_whole) == ("Z", (2,), True)
    for z, plane in enumerate(planes):
        box = plane.whole()
        assert (plane.place.z, plane.channel_names, plane.stack_size) == (z, ("two", "one"), (1, 2))
        assert (plane.values(box) == stack[z]).all()
        assert (plane.channel_reader()(box) == [255 - stack[z], stack[z]]).all()
    with pytest.raises(InputError, match=r"more.*: has 4 planes; expected 2, as in .*one"):
        open_files(paths["one"], Choice(z="all"), paths)
    with pytest.raises(InputError, match=r"two.*: is no file of a channel; expected one of .*one"):
        open_files(paths["two"], channel_files={"one": paths["one"]})
