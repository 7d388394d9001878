"""What lies in the output folder already: what is nucdet's own, and what it must not touch."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from nucdet.errors import InputError
from nucdet.files import digest
from nucdet.predict.inputs import find_inputs
from nucdet.predict.job import prepare
from nucdet.predict.options import PredictOptions
from nucdet.predict.run import predict_images


@pytest.fixture
def beside(job, images):
    """A job whose output folder is that of the images."""

    def make(**changes):
        made = job("images", files=tuple(find_inputs([str(images)], images / "none")), **changes)
        made.check_outputs()
        return made

    return make


def test_outputs_never_replace_an_input(job, images, bright_is_nucleus):
    files = find_inputs([str(images / "a.png")], images)
    first = job("images", files=tuple(files), save=("label",))
    predict_images(first, bright_is_nucleus())
    # nucdet wrote the label image, and yet it is an input now
    files = find_inputs([str(images / name) for name in ("a.png", "a_label.tif")], images)
    with pytest.raises(InputError, match=r"a_label\.tif: is given as an image"):
        job("images", files=tuple(files), save=("label",)).check_outputs()


@pytest.mark.parametrize("name", ["a_label.tif", "a.csv", "summary.csv"])
def test_files_of_the_user_are_never_replaced(beside, images, name):
    (images / name).write_text("corrected by hand")
    with pytest.raises(InputError, match=f"{name}: there already.*move it away"):
        beside(save=("label", "csv"))


def test_the_same_command_may_be_run_again(beside, bright_is_nucleus, contents):
    predict_images(beside(), bright_is_nucleus())
    first = contents(beside().output)
    predict_images(beside(), bright_is_nucleus())
    assert contents(beside().output) == first


def test_labels_that_appear_after_a_run_without_labels_are_the_users(
    beside, images, bright_is_nucleus
):
    predict_images(beside(save=("csv",)), bright_is_nucleus())
    (images / "a_label.tif").write_text("corrected by hand")
    with pytest.raises(InputError, match=r"a_label\.tif"):
        beside(save=("label",))
    beside(save=("csv",))


def test_labels_that_were_corrected_where_nucdet_wrote_them_are_the_users(
    beside, images, bright_is_nucleus
):
    predict_images(beside(), bright_is_nucleus())
    (images / "a_label.tif").write_text("corrected by hand")
    with pytest.raises(InputError, match=r"a_label\.tif: .*changed since"):
        beside()


def test_corrected_labels_with_an_earlier_time_are_the_users(beside, images, bright_is_nucleus):
    """For example if they were copied from a computer whose clock is wrong."""
    predict_images(beside(), bright_is_nucleus())
    labels = images / "a_label.tif"
    labels.write_bytes(labels.read_bytes() + b"corrected by hand")
    os.utime(labels, (1, 1))
    with pytest.raises(InputError, match=r"a_label\.tif: .*changed since"):
        beside()


def test_what_a_power_failure_cut_short_is_written_anew(beside, images, bright_is_nucleus):
    predict_images(beside(), bright_is_nucleus())
    written = (images / "a_label.tif").stat()
    (images / "a_label.tif").write_bytes(b"")
    os.utime(images / "a_label.tif", ns=(written.st_atime_ns, written.st_mtime_ns))
    beside()


def test_formats_of_an_earlier_run_stay_its_own(beside, bright_is_nucleus):
    predict_images(beside(save=("csv", "coco")), bright_is_nucleus())
    predict_images(beside(save=("label",), settings="others"), bright_is_nucleus())
    assert (beside(save=("csv", "coco")).output / "a.csv").exists()


def test_a_run_that_was_killed_while_it_wrote_can_be_run_again(
    beside, monkeypatch, bright_is_nucleus
):
    def stop(*args):
        raise KeyboardInterrupt

    made = beside()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nucdet.export.write_table", stop)
        predict_images(made, bright_is_nucleus())
    assert (made.output / "a_label.tif").exists()
    predict_images(beside(), bright_is_nucleus())


def test_outputs_of_an_earlier_version_are_its_own(beside, bright_is_nucleus):
    made = beside()
    predict_images(made, bright_is_nucleus())
    (made.output / ".records" / "summary.json").unlink()
    for file in made.files:
        path = made.store.path(file)
        content = json.loads(path.read_bytes())
        content = {k: v for k, v in content.items() if k not in ("earlier", "sha256")}
        path.write_text(json.dumps(content | {"sha256": digest(content)}))
    beside()
    # killed by a power failure
    made.store.path(made.files[0]).write_bytes(b"")
    (made.output / ".records" / "summary.json").write_bytes(b"")
    beside()


def test_an_image_that_fails_now_keeps_no_outputs_of_an_earlier_run(
    beside, images, bright_is_nucleus, contents
):
    predict_images(beside(), bright_is_nucleus())
    (images / "a_of_the_user.txt").write_text("mine")
    (images / "a.csv").write_text("changed by the user")
    (images / "a.png").write_bytes((images / "a.png").read_bytes()[:50])
    made = beside(save=("label",))
    predict_images(made, bright_is_nucleus())
    left = sorted(path.name for path in images.glob("a*"))
    assert left == ["a.csv", "a.png", "a_of_the_user.txt"]
    assert made.store.outcome(made.files[0]).error
    assert (images / "c_label.tif").exists()


def test_names_that_are_too_long_are_found_before_the_work(tmp_path, images, job):
    (images / "b.png").rename(images / f"{'b' * 248}.png")
    with pytest.raises(InputError, match=r"b\.png: its output …b+_overlay\.png would.*260 bytes"):
        job(save=("overlay",)).check_outputs()
    job(save=()).check_outputs()


@pytest.mark.parametrize("length", [240, 243])
def test_a_long_name_whose_outputs_fit_is_predicted(images, job, length, bright_is_nucleus):
    (images / "b.png").rename(images / f"{'b' * length}.png")
    made = job(save=("label", "csv"))
    made.check_outputs()
    predict_images(made, bright_is_nucleus())
    assert (made.output / f"{'b' * length}_label.tif").exists()


def options(output, images):
    return PredictOptions(output, (str(images),), config_file="DSB2018/classical_watershed.yaml")


@pytest.mark.parametrize(
    ("name", "found"),
    [("images/a.png", "a file has that name"), ("images/a.png/out", "Not a directory")],
)
def test_an_output_folder_that_cannot_be(tmp_path, images, name, found):
    with pytest.raises(InputError, match=f"--output .*{name}: {found}; expected a folder"):
        prepare(options(tmp_path / name, images / "c.tif"))


def test_a_run_is_refused_before_it_starts(tmp_path, images):
    (images / "c_label.tif").write_text("corrected by hand")
    with pytest.raises(InputError, match=r"c_label\.tif: there already"):
        prepare(options(images, images / "c.tif"))
    other = replace(options(images, images / "c.tif"), output=tmp_path / "out")
    assert [file.name for file in prepare(other).files] == ["c"]
