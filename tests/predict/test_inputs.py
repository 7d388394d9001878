import os
import sys
from pathlib import Path

import pytest

from nucdet.data.io import ome_sets
from nucdet.errors import InputError
from nucdet.predict.inputs import InputFile, find_inputs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make empty files below ``in``, from which the paths of a test start."""

    def make(*names):
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "in"

    monkeypatch.chdir(tmp_path)
    return make


def find(*inputs, output="out"):
    return {f.file_name: f.name for f in find_inputs([str(i) for i in inputs], Path(output))}


def test_one_file(tree):
    folder = tree("a.b.png", "c.png")
    (found,) = find_inputs(["in/a.b.png"], Path("out"))
    assert found == InputFile(folder / "a.b.png", "a.b.png", "a.b")


def test_ome_files_have_endings_of_two_parts(tree):
    tree("a.ome.tif", "b.ome.tif", "b.tif", "c.ome.zarr/0/0")
    expected = {"a.ome.tif": "a", "b.ome.tif": "b.ome.tif", "b.tif": "b.tif", "c.ome.zarr": "c"}
    assert find("in") == expected


def test_a_folder_is_searched_with_all_below_it(tree):
    tree("b.TIF", "a.png", "day1/c.jpg", "day1/notes.txt", "._a.png", "d.json")
    assert find("in") == {"a.png": "a", "b.TIF": "b", "day1/c.jpg": "day1/c"}
    # TIFFs under other names, and a format that the run will report as not read
    tree("day2/e.lsm", "day2/f.ome.btf", "day2/g.oir")
    assert list(find("in/day2").values()) == ["e", "f", "g"]


def test_links_that_are_not_followed_are_named(tree, capsys):
    folder = tree("a.png", ".hidden/b.png", "notes")
    (folder / "c.png").symlink_to("a.png")
    (folder / "circle").symlink_to(folder)
    (folder / "gone.tif").symlink_to("nowhere.tif")
    (folder / "gone.txt").symlink_to("nowhere.txt")
    (folder / ".hidden/circle").symlink_to(folder)
    assert list(find("in")) == ["a.png", "c.png"]
    assert "in: left out 2 links to folders, or to files that do not exist (circle)" in (
        capsys.readouterr().out
    )
    assert find("in/a.png", "in/circle/c.png") and not capsys.readouterr().out


def test_an_image_that_is_divided_among_files_counts_once(tree, monkeypatch, capsys):
    folder = tree("a.ome.tif", "a_1.ome.tif", "b.ome.tif")
    members = [folder / "a.ome.tif", folder / "a_1.ome.tif"]
    monkeypatch.setattr(ome_sets, "_members", lambda f: members if f in members else [f])
    for pattern in ("in", "in/*.tif"):
        assert list(find(pattern)) == ["a.ome.tif", "b.ome.tif"]
        assert "left out 1 of 3 images, as they are parts of an OME-TIFF" in capsys.readouterr().out
    assert list(find("in/a_1.ome.tif")) == ["a_1.ome.tif"]


def test_a_pattern_keeps_the_folders_after_its_fixed_part(tree):
    tree("x/images/a.png", "x/masks/m.png", "y/images/b.dat", "y/images/sub/c.png")
    assert find("in/*/images/*") == {"x/images/a.png": "x/images/a", "y/images/b.dat": "y/images/b"}
    assert list(find("in/**/c.png")) == ["y/images/sub/c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree):
    tree("a[1].png", "a1.png")
    assert find("in/a[1].png") == {"a[1].png": "a[1]"}


def test_several_inputs_share_a_folder_and_count_once(tree):
    tree("day1/a.png", "day2/a.png")
    expected = {"day1/a.png": "day1/a", "day2/a.png": "day2/a"}
    assert find("in/day1", "in/day2", "in/day1/a.png") == expected


def test_equal_stems_keep_their_endings(tree):
    tree("a.png", "a.tif", "A.jpg", "b.png")
    assert find("in") == {"A.jpg": "A.jpg", "a.png": "a.png", "a.tif": "a.tif", "b.png": "b"}


def test_names_of_the_shared_files_are_not_taken(tree):
    tree("summary.png", "sub/kaggle.png")
    assert find("in") == {"summary.png": "summary.png", "sub/kaggle.png": "sub/kaggle"}


def test_names_that_clash_all_the_same_are_an_error(tree):
    tree("a.png", "a.tif", "a.png.bmp")
    with pytest.raises(InputError, match=r"a\.png.* and a\.png.*same name"):
        find("in")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems keep only one of the two")
def test_names_that_look_the_same_are_an_error(tree):
    tree("u\u0308.png", "\u00fc.tif")
    assert len(find("in")) == len(set(find("in").values())) == 2
    tree("\u00fc.png")
    with pytest.raises(InputError, match=r"in: found .* twice, with its letters in two forms"):
        find("in")


def test_outputs_in_another_form_of_unicode_are_left_out(tree, capsys):
    tree("u\u0308.png", "\u00fc_label.tif", "\u00e9_overlay.png", "out/.records/e\u0301.json")
    tree("out/\u00e9_label.tif")
    assert list(find("in", output="elsewhere")) == ["u\u0308.png", "\u00e9_overlay.png"]


def test_an_earlier_run_is_not_predicted(tree):
    tree("a.png", "out/a_overlay.png")
    assert list(find("in", output="in/out")) == ["a.png"]
    with pytest.raises(InputError, match="lie in the output folder"):
        find("in/*.png", output="in")
    # one file that is named is meant
    assert list(find("in/out/a_overlay.png", output="in/out")) == ["a_overlay.png"]


@pytest.mark.parametrize("given", ["in", "in/*.tif"])
def test_nothing_found(tree, given):
    tree("notes.txt")
    with pytest.raises(InputError, match="found no"):
        find(given)


def test_no_such_file(tree):
    with pytest.raises(FileNotFoundError, match=r"MODEL\.WEIGHTS: no such file or folder"):
        find("MODEL.WEIGHTS")


def test_outputs_never_leave_their_folder(tree, monkeypatch):
    folder = tree("project/q.png", "other/p.png")
    monkeypatch.chdir(folder / "project")
    assert find("../other/p.png", "q.png") == {
        "other/p.png": "other/p",
        "project/q.png": "project/q",
    }


def test_a_file_that_is_spelt_twice_counts_once(tree):
    tree("y/a.png", "x/b.png")
    assert find("in/y/a.png", "in/x/../y/a.png") == {"a.png": "a"}
    assert list(find("in", output="in/x/../y")) == ["x/b.png"]


def test_labels_and_outputs_beside_their_images_are_left_out_of_a_folder(tree, capsys):
    images = ["a.png", "b.ome.tif", "c_img.png", "film.tif", "sub/blue_label.tif"]
    tree(*images)
    tree("a_label.tif", "a.png_overlay.png", "b_label.ome.tif", "c_masks.png")
    tree("c_img_cp_masks.png", "film_overlay/t0000.png")
    assert sorted(find("in")) == images
    line = capsys.readouterr().out
    assert "in: left out 6 of 11 images" in line and line.count("\n") == 1
    assert "a_label.tif" in find("in/a.png", "in/a_label.tif")
    assert capsys.readouterr().out == ""


def test_outputs_of_earlier_runs_in_other_folders_are_left_out_of_a_folder(tree, capsys):
    images = ["a.png", "r1/new.png", "sub/b.tif"]
    tree(*images, "r1/.records/a.json", "r1/.records/sub/b.json", "r1/.records/film.json")
    tree("r1/a_label.tif", "r1/a_overlay.png", "r1/sub/b_overlay.png")
    tree("r1/film_label.ome.tif", "r1/film_overlay/t0000.png")
    assert list(find("in")) == images
    assert "left out 5 of 8 images" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"in/r1/sub: found no images but outputs of an earlier"):
        find("in/r1/sub")
    assert list(find("in/r1/a_label.tif")) == ["a_label.tif"]


def test_hidden_files_and_folders_are_left_out_of_a_folder(tree):
    tree("a.png", ".b.png", ".@__thumb/a.png", "x/.ipynb_checkpoints/y/a-checkpoint.png")
    assert list(find("in")) == ["a.png"]
    # one that is named is meant
    assert list(find("in/.@__thumb")) == ["a.png"]
    assert list(find("in/.b.png")) == [".b.png"]


def test_a_name_that_is_not_utf_8_is_found_before_the_work(tree):
    tree("ok.png", os.fsdecode(b"Pr\xe4parat.png"))
    with pytest.raises(InputError, match=r"Pr\\udce4parat\.png: .*not UTF-8.*rename"):
        find("in")


def test_formats_of_microscopes_are_found_also_those_that_cannot_be_read(tmp_path):
    for name in ("a.czi", "b.svs", "c.zarr/0/0"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_inputs([str(tmp_path / "in")], tmp_path / "out")
    assert [file.file_name for file in found] == ["a.czi", "b.svs", "c.zarr"]
