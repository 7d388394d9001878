"""What is saved is what the converter of own label maps reads."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nucdet.data.conversion.labels import convert_labels
from nucdet.data.conversion.own_data import OwnData
from nucdet.errors import InputError
from nucdet.napari.training_folder import count_pairs, save_pair


def _labels(*corners: tuple[int, int], size=(12, 16)) -> np.ndarray:
    """Squares of 3 × 3, numbered from 5 on."""
    labels = np.zeros(size, int)
    for number, (y, x) in enumerate(corners, 5):
        labels[y : y + 3, x : x + 3] = number
    return labels


def test_the_converter_reads_what_is_saved(tmp_path):
    grey = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 300
    color = np.dstack([grey, grey // 2, grey // 3]).astype(np.uint8)
    folder = tmp_path / "mine"
    assert count_pairs(folder) == 0
    save_pair(folder, "day 1: well/A3", grey, _labels((0, 0), (5, 5)))
    save_pair(folder, "x_masks", color, _labels((1, 1)))
    save_pair(folder, "x", grey / 7, _labels())
    assert count_pairs(folder) == 3

    own = OwnData("mine", val_fraction=0, root=tmp_path / "root")
    found = convert_labels(folder / "images", folder / "labels", own)["train"]
    counts = {entry.file_name.rpartition("/")[2]: len(entry.annotations) for entry in found}
    assert counts == {"day_1_well_A3.tif": 2, "x_masks_image.tif": 1, "x.tif": 0}
    # the stored values are those of the layer
    assert np.array_equal(tifffile.imread(folder / "images/day_1_well_A3.tif"), grey)
    assert np.array_equal(tifffile.imread(folder / "images/x_masks_image.tif"), color)


def test_saving_again_replaces_the_labels_and_another_image_of_that_name_does_not(tmp_path):
    image = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
    first = save_pair(tmp_path, "a", image, _labels((0, 0)))
    assert save_pair(tmp_path, "a", image, _labels((5, 5))) == first
    assert np.array_equal(tifffile.imread(tmp_path / "labels/a.tif"), _labels((5, 5)))
    other = save_pair(tmp_path, "a", image + 1, _labels((2, 2)))
    assert other.name == "a_2.tif"
    assert save_pair(tmp_path, "a", image + 1, _labels((3, 3))) == other
    assert np.array_equal(tifffile.imread(tmp_path / "labels/a.tif"), _labels((5, 5)))
    assert count_pairs(tmp_path) == 2


def test_missing_pixels_do_not_make_another_image(tmp_path):
    image = np.arange(12 * 16, dtype=np.float32).reshape(12, 16)
    image[:2] = np.nan
    first = save_pair(tmp_path, "a", image, _labels((5, 0)))
    assert save_pair(tmp_path, "a", image, _labels((5, 5))) == first
    assert count_pairs(tmp_path) == 1


def test_many_labels_keep_their_numbers(tmp_path):
    labels = _labels((0, 0))
    labels[labels > 0] = 70_000
    save_pair(tmp_path, "a", np.ones((12, 16), bool), labels)
    assert tifffile.imread(tmp_path / "labels/a.tif").max() == 70_000
    assert tifffile.imread(tmp_path / "images/a.tif").max() == 255


def test_labels_of_another_image_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"12x16 pixels .* image 6x6"):
        save_pair(tmp_path / "mine", "a", np.zeros((6, 6)), _labels((0, 0)))
    assert not (tmp_path / "mine").exists()
