"""A train.csv from known masks, in Kaggle's schema, and back."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from nucdet.data.conversion.sartorius import convert_sartorius
from nucdet.errors import InputError
from nucdet.structures import CroppedMasks

COLUMNS = (
    "id", "annotation", "width", "height", "cell_type", "plate_time", "sample_date", "sample_id",
    "elapsed_timedelta",
)  # fmt: skip
SIZE = (20, 30)


def code_of(mask):
    """Runs along the rows, from 1, counted pixel by pixel."""
    pairs, length = [], 0
    for index, inside in enumerate([*mask.ravel(), False]):
        if inside:
            length += 1
        elif length:
            pairs += [index - length + 1, length]
            length = 0
    return " ".join(map(str, pairs))


class Competition:
    def __init__(self, root):
        self.root, self.rows, self.masks = root, [], {}
        (root / "train").mkdir(parents=True)

    def add(self, name, masks, cell_type, sample="s"):
        Image.fromarray(np.full(SIZE, 128, np.uint8)).save(self.root / "train" / f"{name}.png")
        self.masks[name] = masks
        for mask in masks:
            row = [name, code_of(mask), SIZE[1], SIZE[0], cell_type, "11h30m00s", "2019-06-16"]
            self.rows.append(dict(zip(COLUMNS, [*row, sample, "0 days 11:30:00"], strict=True)))

    def write(self):
        with (self.root / "train.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        return self.root

    def result(self, split):
        return json.loads((self.root / "annotations" / f"instances_{split}.json").read_text())


def random_masks(seed, count=3):
    """Blobs anywhere, overlapping, with rows that touch the right and the left edge."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *SIZE), bool)
    for mask in masks:
        y, x = rng.integers(0, 12, 2)
        mask[y : y + 6] = rng.random((6, SIZE[1])) < 0.7
        mask[:, :x] &= rng.random((SIZE[0], x)) < 0.5
    return list(masks)


@pytest.fixture
def competition(tmp_path):
    competition = Competition(tmp_path / "sartorius")
    for i in range(12):
        kind = ("shsy5y", "astro", "cort")[i % 3]
        competition.add(f"{i:04x}", random_masks(i), kind, sample=f"sample{i // 6}")
    return competition


def test_a_csv_of_known_masks_gives_exactly_those_masks(competition):
    splits = convert_sartorius(competition.write(), val_fraction=0.25)
    found = 0
    for split, size in (("train", 9), ("val", 3)):
        content = competition.result(split)
        assert len(content["images"]) == len(splits[split]) == size
        names = [c["name"] for c in content["categories"]]
        assert names == ["shsy5y", "astro", "cort"]
        for image in content["images"]:
            annotations = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            rles = [a["segmentation"] for a in annotations]
            masks = np.asarray(CroppedMasks.from_coco_rle(rles, SIZE))
            name = image["file_name"].removeprefix("train/").removesuffix(".png")
            assert (masks == np.stack(competition.masks[name])).all()
            assert {names[a["category_id"] - 1] for a in annotations} == {image["kind"]}
            found += len(masks)
    assert found == 36


def test_each_type_is_on_both_sides_and_samples_stay_together_where_asked(competition):
    splits = convert_sartorius(competition.write(), val_fraction=0.25)
    assert sorted(p.kind for p in splits["val"]) == ["astro", "cort", "shsy5y"]
    splits = convert_sartorius(competition.root, val_fraction=0.5, group_samples=True)
    sides = [{int(p.file_name[6:10], 16) // 6 for p in splits[s]} for s in ("train", "val")]
    assert sorted(map(len, sides)) == [1, 1] and not sides[0] & sides[1]


def test_the_order_of_the_rows_of_different_images_does_not_change_a_byte(competition):
    convert_sartorius(competition.write())
    path = competition.root / "annotations" / "instances_train.json"
    before = path.read_bytes()
    competition.rows.sort(key=lambda row: row["id"], reverse=True)
    convert_sartorius(competition.write())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 31}, r"train\.csv, line 2: states 20x31 \(height x width\), but .* 20x30"),
        ({"height": ""}, "states x30"),
        ({"cell_type": "neuron"}, "cell_type 'neuron', expected one of shsy5y, astro, cort"),
        ({"cell_type": "cort"}, "cell_type 'shsy5y', but the image's first row has 'cort'"),
        ({"annotation": "598 4"}, "run '598 4': it goes beyond the image"),
        ({"annotation": "5 2 6"}, "found 3 numbers"),
        ({"annotation": ""}, "its annotation is empty"),
    ],
)
def test_a_bad_row_costs_its_image(competition, change, message):
    competition.rows[0].update(change)
    with pytest.raises(InputError, match=message):
        convert_sartorius(competition.write())
    assert not (competition.root / "annotations").exists()
    splits = convert_sartorius(competition.root, skip_invalid=True)
    assert sum(map(len, splits.values())) == 11


def test_a_duplicate_row_costs_only_itself(competition):
    competition.rows.insert(5, dict(competition.rows[1]))
    with pytest.raises(InputError, match=r"line 7: repeats line 3"):
        convert_sartorius(competition.write())
    splits = convert_sartorius(competition.root, skip_invalid=True)
    assert sum(len(p.annotations) for images in splits.values() for p in images) == 36


def test_a_missing_and_a_damaged_image_are_both_named(competition, capsys):
    (competition.root / "train/0003.png").unlink()
    (competition.root / "train/0004.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="2 bad"):
        convert_sartorius(competition.write())
    listed = capsys.readouterr().err
    assert "0003.png: 3 rows name this image" in listed and "0004.png: damaged" in listed


def test_images_without_rows_are_left_out_and_named(competition, capsys):
    competition.add("ffff", [], "cort")
    convert_sartorius(competition.write())
    assert "1 images without a row in train.csv, left out: ffff" in capsys.readouterr().err


def test_a_split_without_images_is_refused(competition):
    with pytest.raises(InputError, match=r"for the split val \(12 .*choose another --val-fraction"):
        convert_sartorius(competition.write(), val_fraction=0.01)
    assert not (competition.root / "annotations").exists()


def test_what_is_no_competition(tmp_path, competition):
    with pytest.raises(FileNotFoundError, match=r"train\.csv: not found"):
        convert_sartorius(tmp_path)
    with pytest.raises(InputError, match="--val-fraction 1"):
        convert_sartorius(competition.write(), val_fraction=1)
    competition.rows.clear()
    with pytest.raises(InputError, match="no image is left"):
        convert_sartorius(competition.write())
    (competition.root / "train.csv").write_text("id,annotation\n")
    with pytest.raises(InputError, match="no column width, height, cell_type, sample_id"):
        convert_sartorius(competition.root)
