import json

import pytest

from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth


def write(path, **changes):
    image = {"id": 5, "file_name": "a/b.tif", "height": 4, "width": 6}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cell"}]}
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_polygons_rle_and_several_categories(tmp_path):
    annotations = [
        # as LIVECell writes them: polygons, two categories
        {"image_id": 5, "category_id": 2, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]], "iscrowd": 0},
        {"image_id": 5, "category_id": 1, "segmentation": {"size": [4, 6], "counts": [20, 4]}},
        {"image_id": 5, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 3]], "iscrowd": 1},
    ]
    truth = GroundTruth(write(tmp_path / "t.json", annotations=annotations))
    masks = truth.masks(5)
    # the square from (1, 1) to (3, 3) and the last column of the 4×6 image; the crowd is left out
    assert masks.boxes.tolist() == [[1, 1, 3, 3], [5, 0, 6, 4]]
    assert masks.areas.tolist() == [4, 4]


def test_image_without_annotations(tmp_path):
    truth = GroundTruth(write(tmp_path / "t.json"))
    assert len(truth.masks(5)) == 0
    assert truth.masks(5).image_size == (4, 6)
    assert (truth.image(5).stem, truth.image(5).kind) == ("b", "")


def test_kind_of_image(tmp_path):
    image = {"id": 1, "file_name": "a.png", "height": 4, "width": 6, "kind": "grey"}
    assert GroundTruth(write(tmp_path / "t.json", images=[image])).image(1).kind == "grey"


IMAGE = {"id": 5, "file_name": "c.tif", "height": 4, "width": 6}
OUTLINE = [[1, 1, 3, 1, 3, 3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [IMAGE, IMAGE]}, "two images have id 5"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "categories have id 1"),
        (
            {"annotations": [{"id": 8, "image_id": 6, "segmentation": OUTLINE}]},
            "annotation 8 is of image 6, which is not listed",
        ),
        (
            {"annotations": [{"image_id": 5, "segmentation": []}]},
            "segmentation is \\[\\]; expected",
        ),
    ],
)
def test_what_would_be_lost_without_a_word_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=rf"t\.json: .*{message}"):
        GroundTruth(write(tmp_path / "t.json", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 1}]}, "file_name is None"),
        ({"annotations": [{"image_id": 5}]}, "segmentation is None"),
        ({"annotations": None}, "not a COCO JSON with annotations"),
    ],
)
def test_not_a_coco_json(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        GroundTruth(write(tmp_path / "t.json", **changes))
    assert "t.json" in str(caught.value)


def test_broken_and_missing_files(tmp_path):
    (tmp_path / "t.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"t\.json: not JSON"):
        GroundTruth(tmp_path / "t.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        GroundTruth(tmp_path / "none.json")


def test_damaged_mask_names_file_and_image(tmp_path):
    annotation = {"image_id": 5, "segmentation": {"size": [4, 6], "counts": [20, 5]}}
    truth = GroundTruth(write(tmp_path / "t.json", annotations=[annotation]))
    with pytest.raises(InputError, match=r"t\.json: image a/b\.tif: .*25 pixels"):
        truth.masks(5)


@pytest.fixture
def truth_of(tmp_path):
    """A function that makes a ground truth of images of these names."""

    def make(*names):
        images = [
            {"id": i, "file_name": name, "height": 4, "width": 6} for i, name in enumerate(names, 1)
        ]
        return GroundTruth(write(tmp_path / "t.json", images=images))

    return make


def test_images_by_the_names_of_their_predictions(truth_of):
    truth = truth_of("x/a.png", "x/a.jpg", "x/o.ome.tif", "x/b.png", "x/b.png.tif")
    names = ["a.png", "a.jpg", "o", "o.ome", "b", "b.png", "b.png.tif"]
    assert [truth.named(name).image_id for name in names] == [1, 2, 3, 3, 4, 5, 5]
    assert truth.named("c") is None


@pytest.mark.parametrize("second", ["y/1.png", "y/1.jpg"])
def test_equal_stems_are_ambiguous(truth_of, second):
    truth = truth_of("x/1.png", second)
    with pytest.raises(InputError, match=rf"x/1\.png and {second} have the same stem"):
        truth.named("1")


def test_a_choice_even_over_kinds(tmp_path):
    images = [
        {"id": i, "file_name": f"{i}.png", "height": 8, "width": 8, "kind": kind}
        for i, kind in enumerate("aaaaaaaaabbbbbbc", 1)
    ]
    truth = GroundTruth(write(tmp_path / "t.json", images=images))
    assert truth.evenly_over_kinds(5) == [1, 9, 10, 15, 16]
    assert truth.evenly_over_kinds(99) == list(range(1, 17))
    assert truth.evenly_over_kinds(1) == [1]
