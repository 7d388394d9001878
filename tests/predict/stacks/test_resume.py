"""Stacks that are interrupted, damaged, or chosen badly."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from nucdet.errors import InputError
from nucdet.predict import reading
from nucdet.predict.run import predict_images


@pytest.mark.parametrize("together", [1, 3, 8])
def test_a_killed_run_goes_on_at_the_plane_where_it_stopped(
    job, monkeypatch, together, film, bright_is_nucleus, contents
):
    predict_images(job("whole"), bright_is_nucleus())
    monkeypatch.setattr(reading, "_TOGETHER", together)
    with pytest.raises(KeyboardInterrupt):
        predict_images(job(), bright_is_nucleus(stop_at=(1, 0)))
    left = contents(job().output)
    assert not any(name.endswith((".tif", ".csv")) for name in left)
    again = bright_is_nucleus()
    predict_images(job(resume=True), again)
    done = {1: 2, 3: 0, 8: 0}[together]
    assert again.seen == list(film.nuclei)[done:]
    assert contents(job().output) == contents(job("whole").output)
    nothing = bright_is_nucleus()
    predict_images(job(resume=True), nothing)
    assert nothing.seen == []


def _cut(path):
    os.truncate(path, path.stat().st_size - 5)


def _change_a_digit(path):
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"areas": [16', b'"areas": [17')
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("name", "damage", "redone"),
    [
        (".records/film.jsonl", _cut, 1),
        (".records/film.jsonl", _change_a_digit, 3),
        (".records/film.jsonl", lambda path: path.unlink(), 4),
        ("film_overlay/t0001_z0000.png", lambda path: path.unlink(), 2),
        ("film_overlay/t0001_z0001.png", _cut, 1),
        ("film_label.ome.tif", lambda path: path.unlink(), 0),
        ("film.csv", _cut, 0),
        (".records/film.json", lambda path: path.unlink(), 0),
    ],
)
def test_resume_makes_again_what_is_damaged(
    job, name, damage, redone, film, bright_is_nucleus, contents
):
    predict_images(job(), bright_is_nucleus())
    whole = contents(job().output)
    before = (job().output / name).read_bytes()
    damage(job().output / name)
    assert not (job().output / name).exists() or (job().output / name).read_bytes() != before
    again = bright_is_nucleus()
    predict_images(job(resume=True), again)
    assert again.seen == list(film.nuclei)[4 - redone :]
    assert contents(job().output) == whole


def test_formats_are_added_without_predicting(job, bright_is_nucleus):
    predict_images(job("all"), bright_is_nucleus())
    predict_images(job(save=()), bright_is_nucleus())
    again = bright_is_nucleus()
    predict_images(job(save=("label", "csv", "geojson", "roi"), resume=True), again)
    assert again.seen == []
    for name in ("film_label.ome.tif", "film.csv", "film.geojson", "film_rois.zip"):
        assert (job().output / name).read_bytes() == (job("all").output / name).read_bytes()


@pytest.mark.parametrize("together", [1, 8])
def test_a_plane_that_fails_ends_its_file_and_no_other(
    job, tmp_path, monkeypatch, capsys, together, film, bright_is_nucleus
):
    monkeypatch.setattr(reading, "_TOGETHER", together)
    Image.fromarray(np.zeros(film.size, np.uint8)).save(tmp_path / "images" / "grey.png")
    predict_images(job(), bright_is_nucleus(stop_at=(1, 0), error=InputError))
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("failed:")]
    assert line.endswith("film.ome.tif: plane 3 of 4: as the test wants")
    summary = pd.read_csv(job().output / "summary.csv").set_index("image")
    assert summary["error"].dropna().to_dict() == {
        "film.ome.tif": "plane 3 of 4: as the test wants"
    }
    assert not list(job().output.glob("film*.tif"))
    again = bright_is_nucleus()
    predict_images(job(resume=True), again)
    assert again.seen == list(film.nuclei)[2:]
    assert len(pd.read_csv(job().output / "film.csv")) == 4


def test_a_damaged_plane_is_named(job, tmp_path, capsys, film, bright_is_nucleus):
    path = tmp_path / "images" / "film.ome.tif"
    tifffile.imwrite(
        path,
        film.pixels[0, 1],
        ome=True,
        metadata={"axes": "ZYX"},
        compression="zlib",
        photometric="minisblack",
    )
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[1].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * 8)
    made = job(save=("label",))
    predict_images(made, bright_is_nucleus())
    assert "film.ome.tif: plane 2 of 2: damaged" in capsys.readouterr().err
    assert not list(made.output.glob("*.tif"))
    # the one before it is kept, as --resume needs it where the file could not be read for once
    (file,) = made.files
    assert [plane.record.z for plane in made.store.planes(file)] == [0]
    assert "plane 2 of 2" in made.store.outcome(file).error


def test_what_a_killed_run_left_of_an_overlay_is_removed(job, bright_is_nucleus, contents):
    predict_images(job(), bright_is_nucleus())
    whole = contents(job().output)
    (job().output / "film_overlay" / ".t0001_z0001-k3_x9abz.png").write_bytes(b"x")
    (job().output / "film_overlay" / ".mine.png").write_bytes(b"x")
    job(resume=True).clean_up()
    assert contents(job().output) == whole | {"film_overlay/.mine.png": b"x"}


def test_bad_choices_are_one_line(job, capsys, bright_is_nucleus):
    for changes, complaint in (
        ({"z": 2}, "no number 2 among its depths, 0 to 1"),
        ({"time": None}, "holds 2 times; choose with --time K (in prediction also all)"),
        ({"channel": None}, "holds 2 channels (0 GFP, 1 DAPI)"),
        ({"channel": 2}, "no channel 2; its channels are 0 GFP, 1 DAPI"),
        (
            {"measure_channels": ("Cy5",)},
            "no channel 'Cy5' to measure, only 0 GFP",
        ),
    ):
        predict_images(job(**changes), bright_is_nucleus())
        (line,) = [x for x in capsys.readouterr().err.splitlines() if "failed:" in x]
        assert complaint in line
    for changes, complaint in (
        ({"channel": ""}, "--channel is empty; expected a name or a number from 0"),
        ({"z": "top"}, "--z top: expected max, mean, all or a number from 0"),
        ({"time": "mean"}, "--time mean: expected all or a number from 0"),
    ):
        with pytest.raises(InputError, match=complaint):
            job(**changes)


def test_asking_what_is_done_changes_nothing(job, bright_is_nucleus, contents):
    predict_images(job(), bright_is_nucleus())
    _cut(job().output / "film_overlay/t0001_z0000.png")
    before = contents(job().output)
    assert job(resume=True).left_to_do() == list(job().files)
    assert contents(job().output) == before
