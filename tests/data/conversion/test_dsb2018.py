"""The converter on raw trees whose every pixel is known, and on each way to be bad."""

import re
import shutil

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from nucdet.data.conversion.dsb2018 import SplitOptions, convert_dsb2018
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks


def test_every_mask_decodes_to_its_own_pixels(raw_tree):
    convert_dsb2018(raw_tree.root)
    coco = raw_tree.load("trainval")
    assert coco["categories"] == [{"id": 1, "name": "nucleus"}]
    assert [image["id"] for image in coco["images"]] == list(range(1, 21))
    assert [a["id"] for a in coco["annotations"]] == list(range(1, 40))
    for image in coco["images"]:
        name = image["file_name"].split("/")[1]
        assert image["file_name"] == f"stage1_train/{name}/images/{name}.png"
        assert (image["height"], image["width"]) == (40, 50)
        expected = "bright_field" if int(name[1:]) % 2 else "fluorescence"
        assert image["kind"] == expected
        found = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        for annotation, mask in zip(found, raw_tree.masks[name], strict=True):
            np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), mask)
            y, x = np.nonzero(mask)
            box = [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            assert annotation["bbox"] == box and annotation["area"] == mask.sum()
            assert annotation["category_id"] == 1 and annotation["iscrowd"] == 0


def test_byte_identical_whatever_the_workers(raw_tree):
    def converted(workers):
        convert_dsb2018(raw_tree.root, SplitOptions(folds=3), workers=workers)
        return {p.name: p.read_bytes() for p in (raw_tree.root / "annotations").iterdir()}

    first = converted(1)
    assert len(first) == 3 + 2 * 3 + 1  # and the manifest
    assert converted(1) == first and converted(2) == first


def test_after_opencv_has_started_threads(raw_tree):
    """Those threads are not in a forked worker; before, it waited for them for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (31, 31), 0)
        convert_dsb2018(raw_tree.root, SplitOptions(folds=3), workers=2)
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
    assert len(raw_tree.load("trainval")["images"]) == 20


def test_splits_are_stratified_and_complete(raw_tree):
    convert_dsb2018(raw_tree.root, SplitOptions(val_fraction=0.2, folds=5))
    everything = raw_tree.names("trainval")
    train, val = raw_tree.names("train"), raw_tree.names("val")
    assert train | val == everything and not train & val
    assert sorted(image["kind"] for image in raw_tree.load("val")["images"]) == (
        ["bright_field"] * 2 + ["fluorescence"] * 2
    )
    held_out = [raw_tree.names(f"fold{k}_val") for k in range(5)]
    assert [len(h) for h in held_out] == [4] * 5 and set.union(*held_out) == everything
    for k in range(5):
        assert raw_tree.names(f"fold{k}_train") == everything - held_out[k]


def test_each_kind_and_all_but_it(raw_tree, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("img_id,mosaic_idx\np00,7\np01,7\n")  # a dark and a bright one
    convert_dsb2018(raw_tree.root, SplitOptions(kinds=True, groups_file=groups))
    dark, bright = ({f"p{i:02d}" for i in range(first, 20, 2)} for first in (0, 1))
    assert raw_tree.names("only_fluorescence") == dark
    assert raw_tree.names("only_bright_field") == bright
    # nor does what goes together with an image of the kind teach about it
    assert raw_tree.names("without_fluorescence") == bright - {"p01"}
    assert raw_tree.names("without_bright_field") == dark - {"p00"}


def test_the_seed_changes_the_split(raw_tree):
    splits = []
    for seed in (0, 1):
        convert_dsb2018(raw_tree.root, SplitOptions(val_fraction=0.2, seed=seed))
        splits.append(raw_tree.names("val"))
    assert splits[0] != splits[1]


def test_groups_file_keeps_images_together(raw_tree, tmp_path):
    groups = tmp_path / "folds.csv"
    rows = [f"p{i:02d},{i % 4}" for i in range(20)]  # 4 groups of 5, one kind each
    groups.write_text("\n".join(["img_id,mosaic_idx", *rows, "not_there,0"]))
    convert_dsb2018(raw_tree.root, SplitOptions(val_fraction=0.25, groups_file=groups))
    val = raw_tree.names("val")
    assert val and all({int(n[1:]) % 4 for n in val} >= {int(n[1:]) % 4} for n in val)
    for group in range(4):
        assert len([n for n in val if int(n[1:]) % 4 == group]) in (0, 5)
    numbers = {
        i["file_name"].split("/")[1]: i["group"] for i in raw_tree.load("trainval")["images"]
    }
    assert numbers["p00"] == numbers["p04"] != numbers["p01"]


def test_no_root_and_no_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder; expected Kaggle"):
        convert_dsb2018(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"none of stage1_train.*stage1_train/<id>/images"):
        convert_dsb2018(tmp_path)
    (tmp_path / "stage1_train").mkdir()
    with pytest.raises(InputError, match=r"stage1_train: no image's folder"):
        convert_dsb2018(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"stage2_test: no such folder, but --test"):
        convert_dsb2018(tmp_path, test="stage2_test")


@pytest.mark.parametrize(
    "options", [{"val_fraction": 0}, {"val_fraction": 1.5}, {"folds": 1}, {"seed": -1}]
)
def test_splits_out_of_range(options):
    (name,) = options
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} .*: expected"):
        SplitOptions(**options)


def test_a_folder_that_is_no_test_stage_is_refused(raw_tree):
    (raw_tree.root / "other").mkdir()
    with pytest.raises(InputError, match=r"--test other: expected one of stage1_test, stage2_test"):
        convert_dsb2018(raw_tree.root, test="other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"val_fraction": 0.01},
            r"for the split val \(20 .*; choose another --val-fraction",
        ),
        ({"folds": 30}, r"for the split fold\d+_val .*; choose fewer --folds"),
    ],
)
def test_a_split_without_images_is_refused(fails, options, message):
    error, _ = fails(options=SplitOptions(**options))
    assert re.search(message, error)


def test_one_kind_alone_cannot_be_left_out(raw_tree, fails):
    for i in range(1, 20, 2):
        shutil.rmtree(raw_tree.root / f"stage1_train/p{i:02d}")
    error, _ = fails(options=SplitOptions(kinds=True))
    assert "for the split without_fluorescence" in error and "leave out --kinds" in error


@pytest.mark.parametrize(
    ("stage", "split"), [("stage1_train", "trainval"), ("stage1_test", "test")]
)
def test_a_stage_of_bad_images_alone_is_refused(raw_tree, fails, stage, split):
    raw_tree.add("t00", [np.ones((40, 50), bool)], stage="stage1_test")
    for folder in (raw_tree.root / stage).iterdir():
        no_masks(folder)
    if stage == "stage1_test":
        cut_image(folder)
    error, _ = fails(skip_invalid=True)
    assert f"no image is left for the split {split}" in error


def test_no_workers(raw_tree):
    with pytest.raises(InputError, match="--workers 0: expected 1 or more"):
        convert_dsb2018(raw_tree.root, workers=0)


def cut_mask(folder):
    path = folder / "masks/m000.png"
    path.write_bytes(path.read_bytes()[:60])


def cut_image(folder):
    path = next((folder / "images").iterdir())
    path.write_bytes(path.read_bytes()[:-30])


def other_size(folder):
    cv2.imwrite(str(folder / "masks/m000.png"), np.full((50, 40), 255, np.uint8))


def no_masks(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()


def no_image(folder):
    next((folder / "images").iterdir()).unlink()


BAD_IMAGES = [
    (cut_mask, r"p05/masks/m000\.png: damaged or cut short"),
    (cut_image, r"p05/images/p05\.png: damaged or cut short"),
    (other_size, r"m000\.png: the mask is 50x40 \(height x width\), but its image 40x50"),
    (no_masks, r"p05: no png file in its masks folder"),
    (no_image, r"p05: 0 png files in its images folder, expected 1"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_IMAGES)
def test_a_bad_file_costs_its_image(raw_tree, capsys, spoil, message, fails):
    spoil(raw_tree.root / "stage1_train/p05")
    error, listed = fails()
    assert re.search(message, listed)
    assert error.startswith("1 bad") and "--skip-invalid" in error
    convert_dsb2018(raw_tree.root, skip_invalid=True)
    assert raw_tree.names("trainval") == {f"p{i:02d}" for i in range(20)} - {"p05"}
    assert "left out: the image" in capsys.readouterr().err


def test_an_all_zero_mask_costs_only_itself(raw_tree, capsys, fails):
    empty = raw_tree.root / "stage1_train/p05/masks/m001.png"
    cv2.imwrite(str(empty), np.zeros((40, 50), np.uint8))
    error, _ = fails()
    assert "m001.png: the mask is all zero" in error
    convert_dsb2018(raw_tree.root, skip_invalid=True)
    assert "left out: the mask" in capsys.readouterr().err
    coco = raw_tree.load("trainval")
    assert len(coco["images"]) == 20 and len(coco["annotations"]) == 39 - 1


def test_every_bad_file_is_listed(raw_tree, capsys, fails):
    cut_image(raw_tree.root / "stage1_train/p01")
    other_size(raw_tree.root / "stage1_train/p03")
    no_masks(raw_tree.root / "stage1_train/p08")
    error, listed = fails()
    assert error.startswith("3 bad")
    assert len([line for line in listed.splitlines() if line.startswith("bad: ")]) == 3
    assert all(name in listed for name in ("p01.png", "p03", "p08"))


def test_overlapping_masks_are_kept_and_counted(raw_tree, capsys):
    square = np.zeros((40, 50), bool)
    square[10:20, 10:20] = True
    shifted = np.roll(square, (9, 8), axis=(0, 1))  # 1 row x 2 columns in common
    apart = np.roll(square, 20, axis=1)
    raw_tree.add("overlap", [square, shifted, apart])
    convert_dsb2018(raw_tree.root)
    errors = capsys.readouterr().err
    assert "2 masks in 1 images share 2 pixels" in errors
    assert "overlap.png: 2 masks share 2 pixels" in errors
    coco = raw_tree.load("trainval")
    image = next(i for i in coco["images"] if "overlap" in i["file_name"])
    found = [a["segmentation"] for a in coco["annotations"] if a["image_id"] == image["id"]]
    np.testing.assert_array_equal(
        CroppedMasks.from_coco_rle(found, (40, 50)).to_dense(), [square, shifted, apart]
    )


def test_unwritable_output_leaves_nothing_half_written(raw_tree):
    (raw_tree.root / "annotations").write_text("a file where the folder should be")
    with pytest.raises(OSError):
        convert_dsb2018(raw_tree.root)
    assert (raw_tree.root / "annotations").read_text().startswith("a file")
