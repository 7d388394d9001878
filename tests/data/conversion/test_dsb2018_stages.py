"""The test stages of DSB2018: whose ground truth is masks, a csv, or not there."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from nucdet.data.conversion.dsb2018 import SplitOptions, convert_dsb2018
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks


def write_solution(tree, rows, name="stage1_solution.csv"):
    lines = ["ImageId,EncodedPixels,Height,Width,Usage", *rows]
    (tree.root / name).write_text("\n".join(lines) + "\n")


def test_solution_csv(raw_tree):
    first, second = raw_tree.masks["p01"], raw_tree.masks["p02"]
    for name in ("t0", "t1", "t2"):
        raw_tree.add(name, None, stage="stage1_test")
    codes = [CroppedMasks.from_dense(np.stack(m)).to_kaggle_rle() for m in (first, second)]
    rows = [f"t{i},{code},40,50,Public" for i in (0, 1) for code in codes[i]]
    write_solution(raw_tree, [*rows, "t2,,40,50,Private"])
    splits = convert_dsb2018(raw_tree.root)
    assert [len(p.annotations) for p in splits["test"]] == [len(first), len(second), 0]
    coco = raw_tree.load("test")
    masks = [coco_mask.decode(a["segmentation"]) for a in coco["annotations"]]
    np.testing.assert_array_equal(masks, np.stack([*first, *second]))
    assert coco["images"][0]["file_name"] == "stage1_test/t0/images/t0.png"


def test_names_in_a_csv_may_be_in_another_form_of_unicode(raw_tree, tmp_path):
    nfd, nfc = "u\u0308", "\u00fc"
    for number in "01":
        raw_tree.add(nfd + number, None, stage="stage1_test")
    write_solution(raw_tree, [f"{nfc}0,1 5,40,50,Public", f"{nfc}1,1 5,40,50,Ignored"])
    raw_tree.add(nfd, raw_tree.masks["p01"])
    groups = tmp_path / "groups.csv"
    groups.write_text(f"img_id,mosaic_idx\n{nfc},1\np02,1\n", encoding="utf-8")
    convert_dsb2018(raw_tree.root, SplitOptions(groups_file=groups))
    assert len(raw_tree.load("test")["images"]) == len(raw_tree.load("test")["annotations"]) == 1
    found = {i["file_name"].split("/")[1]: i["group"] for i in raw_tree.load("trainval")["images"]}
    assert found[nfd] == found["p02"] != found["p01"]


def test_stage2_leaves_ignored_images_out(raw_tree):
    for name in ("t0", "t1"):
        raw_tree.add(name, None, stage="stage2_test")
    rows = ["t0,1 5,40,50,Private", "t1,1 1,40,50,Ignored", "unknown,1 1,3,3,Ignored"]
    write_solution(raw_tree, rows, "stage2_solution_final.csv")
    convert_dsb2018(raw_tree.root)
    coco = raw_tree.load("test")
    assert raw_tree.names("test") == {"t0"} and coco["annotations"][0]["bbox"] == [0, 0, 1, 5]


def test_masks_win_over_csv_and_no_truth_gives_images_only(raw_tree, capsys):
    raw_tree.add("t0", None, stage="stage1_test")
    convert_dsb2018(raw_tree.root)
    assert len(raw_tree.load("test")["images"]) == 1
    assert raw_tree.load("test")["annotations"] == []
    assert "test has no ground truth" in capsys.readouterr().err
    raw_tree.add("t1", raw_tree.masks["p01"], stage="stage2_test")
    write_solution(raw_tree, ["t1,1 5,40,50,Private"], "stage2_solution_final.csv")
    convert_dsb2018(raw_tree.root, test="stage2_test")
    assert raw_tree.load("test")["annotations"][0]["area"] == raw_tree.masks["p01"][0].sum()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("t0,1 5 9,40,50,Public", "line 3: EncodedPixels: found 3 numbers; expected pairs"),
        ("t0,1990 20,40,50,Public", "line 3: EncodedPixels: run '1990 20': it goes beyond"),
        ("t0,1 a,40,50,Public", "line 3: EncodedPixels: found '1 a'; expected whole numbers"),
        ("who,1 5,40,50,Public", "line 3: names image 'who', which has no folder"),
        ("t0,1 5,50,40,Public", "line 3: states 50x40 (height x width), but the image is 40x50"),
        ("t0,1 5", "line 3: states"),
    ],
)
def test_bad_csv_rows(raw_tree, capsys, row, message, fails):
    raw_tree.add("t0", None, stage="stage1_test")
    write_solution(raw_tree, ["t0,1 5,40,50,Public", row])
    error, listed = fails()
    assert message in listed and "stage1_solution.csv" in error


def test_csv_with_rows_or_columns_missing(raw_tree, capsys, fails):
    for name in ("t0", "t1"):
        raw_tree.add(name, None, stage="stage1_test")
    write_solution(raw_tree, ["t0,1 5,40,50,Public"])
    error, _ = fails()
    assert "t1: no row in stage1_solution.csv" in error
    (raw_tree.root / "stage1_solution.csv").write_text("ImageId,Pixels\nt0,1 5\n")
    with pytest.raises(InputError, match="no column EncodedPixels, Height, Width; found ImageId"):
        convert_dsb2018(raw_tree.root)
    (raw_tree.root / "stage1_solution.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="not a csv text file"):
        convert_dsb2018(raw_tree.root)


def test_a_test_stage_alone_is_enough(tmp_path, raw_tree):
    (raw_tree.root / "stage1_train").rename(raw_tree.root / "stage2_test")
    assert list(convert_dsb2018(raw_tree.root)) == ["test"]
