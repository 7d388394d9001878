from __future__ import annotations

from nucdet.visualization.files import image_names


def test_files_whose_names_would_be_the_same_get_numbers():
    files = ["in/d/a_b.tif", "in/d2/a_b.tif", "in/d_a/b.tif", "in/q/b.tif"]
    assert image_names(files) == [
        "d_a_b.tif.png",
        "d2_a_b.tif.png",
        "d_a_b.tif_2.png",
        "q_b.tif.png",
    ]


def test_a_file_that_is_named_twice_has_one_name():
    assert image_names(["in/a.tif", "in/b.tif", "in/a.tif"]) == ["a.tif.png", "b.png", "a.tif.png"]
