import json
import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.evaluation.predictions_io import read_predictions

LABELS = np.zeros((4, 40), np.uint8)
LABELS[0, :9], LABELS[2, 5:8] = 7, 3


@pytest.fixture
def truth(make_truth, spans):
    return GroundTruth(make_truth(spans((0, 0, 9)), spans((1, 0, 3))))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "labels").mkdir()
    return tmp_path / "labels"


def read(path, truth):
    return list(read_predictions(path, truth))


def coco_results(path, *results):
    path.write_text(json.dumps(list(results)))
    return path


def result(image_id=1, counts=(0, 4, 156), size=(4, 40), score=0.5):
    segmentation = {"size": list(size), "counts": list(counts)}
    return {"image_id": image_id, "category_id": 1, "segmentation": segmentation, "score": score}


# --- what can be read


def test_coco_results(truth, tmp_path):
    path = coco_results(tmp_path / "r.json", result(score=0.25), result(counts=(8, 4, 148)))
    first, second = read(path, truth)
    assert first.masks.boxes.tolist() == [[0, 0, 1, 4], [2, 0, 3, 4]]
    assert first.scores.tolist() == [0.25, 0.5]
    assert (len(second.masks), second.image.file_name) == (0, "images/img2.png")


def coco_json(path, names=("img2.png", "img1.png"), categories=("nucleus",), **changes):
    """Predictions with ids of their own: one mask, in the last image."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(names, 7)]
    content = {
        "images": images,
        "annotations": [{**result(image_id=images[-1]["id"]), "category_id": 1, **changes}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"names": ["img2.tif", "img1.tif"]},  # predicted from copies in another format
        {"categories": ["cell"]},  # the only one of the ground truth has another name
    ],
)
def test_a_coco_json_is_matched_by_names(truth, tmp_path, changes):
    first, second = read(coco_json(tmp_path / "p.json", **changes), truth)
    assert (first.image.file_name, len(first.masks)) == ("images/img1.png", 1)
    assert first.scores.tolist() == [0.5] and len(second.masks) == 0
    assert first.classes(truth).tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["img3.png"]}, "prediction for image 'img3.png'"),
        ({"names": ["a/img1.png", "b/img1.png"]}, "two of its images are img1.png"),
        ({"image_id": 1}, "has image_id 1 and category_id 1; expected ids of its"),
        ({"category_id": 2}, "category_id 2; expected ids of its"),
        ({"score": None}, "result 0 is no COCO result"),
    ],
)
def test_a_coco_json_that_does_not_fit_is_refused(truth, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read(coco_json(tmp_path / "p.json", **changes), truth)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "images is None; expected a list"),
        ({"annotations": {}}, "annotations is {}"),
        ({"categories": 5}, "categories is 5"),
        ({"images": ["img1.png"]}, "found 'img1.png'"),
        ({"images": [{"id": 1}]}, "file_name is None"),
        ({"images": [{"id": 1, "file_name": f"img{i}.png"} for i in (1, 2)]}, "two images have id"),
        ({"annotations": [5]}, "found 5"),
        ({"annotations": [{"image_id": [1], "category_id": 1}]}, "image_id is"),
    ],
)
def test_a_damaged_coco_json_is_refused(truth, tmp_path, changes, message):
    path = coco_json(tmp_path / "p.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=f"p.json: .*{message}"):
        read(path, truth)


def test_categories_of_a_coco_json_are_matched_by_names(tmp_path):
    categories = [{"id": 5, "name": "tumor"}, {"id": 9, "name": "stroma"}]
    image = {"id": 1, "file_name": "img1.png", "height": 4, "width": 40}
    file = tmp_path / "truth.json"
    content = {"images": [image], "annotations": [], "categories": categories}
    file.write_text(json.dumps(content))
    truth = GroundTruth(file)
    (found,) = read(coco_json(tmp_path / "p.json", ["img1.png"], ["stroma", "tumor"]), truth)
    assert found.categories.tolist() == [9]
    with pytest.raises(InputError, match=r"category 'other'; expected .* stroma, tumor"):
        read(coco_json(tmp_path / "p.json", ["img1.png"], ["other"]), truth)


@pytest.mark.parametrize("category", [1, 3, 5])
def test_a_category_that_the_ground_truth_does_not_have(truth, tmp_path, category):
    truth.categories = {2: "nucleus", 4: "debris"}
    results = [{**result(), "category_id": number} for number in (4, 2, category)]
    found = read(coco_results(tmp_path / "r.json", *results[:2]), truth)[0]
    assert found.as_instances(truth).pred_classes.tolist() == [1, 0]
    found = read(coco_results(tmp_path / "r.json", *results), truth)[0]
    with pytest.raises(InputError, match=rf"category_id {category} .*img1.png; expected .* 2, 4"):
        found.as_instances(truth)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "0.9", True, None, 10**400])
def test_scores_without_an_order_are_refused(truth, tmp_path, score):
    path = coco_results(tmp_path / "r.json", result(), result(score=score))
    with pytest.raises(InputError, match=r"r\.json: result 1 .*score"):
        read(path, truth)


def test_scores_of_other_tools_may_lie_beyond_1(truth, tmp_path):
    path = coco_results(tmp_path / "r.json", result(score=-3), result(score=98.5))
    assert read(path, truth)[0].scores.tolist() == [-3, 98.5]


@pytest.mark.parametrize("ending", ["", "_label", "_cp_masks"])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint16), (".tiff", np.int32)],
)
def test_label_images(truth, folder, ending, suffix, dtype):
    file = folder / f"img1{ending}{suffix}"
    if suffix == ".png":
        cv2.imwrite(str(file), LABELS.astype(dtype))
    else:
        tifffile.imwrite(file, LABELS.astype(dtype))
    first, second = read(folder, truth)
    # in ascending order of the label: 3, then 7
    assert first.masks.boxes.tolist() == [[5, 2, 8, 3], [0, 0, 9, 1]]
    assert first.scores is None
    assert len(second.masks) == 0
    assert second.masks.image_size == (4, 40)


@pytest.fixture
def truth_of(tmp_path):
    """Makes the ground truth of images with these names."""

    def make(*names):
        images = [
            {"id": i, "file_name": name, "height": 4, "width": 40}
            for i, name in enumerate(names, 1)
        ]
        path = tmp_path / "odd.json"
        path.write_text(json.dumps({"images": images, "annotations": []}))
        return GroundTruth(path)

    return make


@pytest.fixture
def odd_truth(truth_of):
    """Ground truth of images whose predictions nucdet does not name by the stem."""
    return truth_of("o.ome.tif", "summary.png", "a.png", "a.jpg")


def test_names_that_nucdet_gives_its_predictions(odd_truth, folder, tmp_path):
    names = ["o", "summary.png", "a.png", "a.jpg"]
    for name in names:
        tifffile.imwrite(folder / f"{name}_label.tif", LABELS)
        cv2.imwrite(str(folder / f"{name}_overlay.png"), LABELS)
    assert [len(found.masks) for found in read(folder, odd_truth)] == [2, 2, 2, 2]
    rows = [f"{name},{start} 2" for start, name in enumerate(names, 1)]
    table = tmp_path / "kaggle.csv"
    table.write_text("\n".join(["ImageId,EncodedPixels", *rows]))
    found = [prediction.masks.to_kaggle_rle() for prediction in read(table, odd_truth)]
    assert found == [["1 2"], ["2 2"], ["3 2"], ["4 2"]]


@pytest.mark.parametrize(("true", "found"), [("u\u0308", "\u00fc"), ("\u00fc", "u\u0308")])
def test_names_in_another_form_of_unicode_are_matched(truth_of, folder, tmp_path, true, found):
    truth = truth_of(f"{true}.png")
    tifffile.imwrite(folder / f"{found}_label.tif", LABELS)
    table = tmp_path / "kaggle.csv"
    table.write_text(f"ImageId,EncodedPixels\n{found},1 2\n", encoding="utf-8")
    for path in (folder, table, coco_json(tmp_path / "p.json", [f"{found}.png"])):
        assert [len(prediction.masks) > 0 for prediction in read(path, truth)] == [True]
    if sys.platform != "darwin":  # its file systems keep only one of the two
        tifffile.imwrite(folder / f"{true}_label.tif", LABELS)
        with pytest.raises(InputError, match="twice, with its letters in two forms of Unicode"):
            read(folder, truth)


def _palette(path):
    image = Image.fromarray(LABELS, mode="P")
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    image.save(path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("img1.png", _palette),
        ("img1.tif", lambda path: tifffile.imwrite(path, LABELS.astype(np.float32))),
        ("img1.tif", lambda path: tifffile.imwrite(path, LABELS[None])),
        ("img1.npy", lambda path: np.save(path, LABELS)),
        ("img1_seg.npy", lambda path: np.save(path, {"masks": LABELS})),
    ],
    ids=["palette", "float", "one plane", "array", "cellpose"],
)
def test_label_images_that_the_converter_reads_can_be_scored(truth, folder, name, write):
    write(folder / name)
    assert read(folder, truth)[0].masks.boxes.tolist() == [[5, 2, 8, 3], [0, 0, 9, 1]]


def test_arrays_beside_label_images_are_left_alone(truth, folder):
    cv2.imwrite(str(folder / "img1.png"), LABELS)
    np.save(folder / "img1_seg.npy", {"masks": LABELS * 0})
    np.save(folder / "img1.npy", LABELS * 0)
    assert len(read(folder, truth)[0].masks) == 2


def test_labels_beyond_16_bit(truth, folder):
    tifffile.imwrite(folder / "img1.tif", LABELS.astype(np.uint32) * 100_000_000)
    assert len(read(folder, truth)[0].masks) == 2


def test_images_beside_labels_with_an_ending_are_left_alone(truth, folder):
    cv2.imwrite(str(folder / "img1.png"), np.full((4, 40, 3), 200, np.uint8))
    cv2.imwrite(str(folder / "img1_overlay.png"), np.full((4, 40, 3), 200, np.uint8))
    cv2.imwrite(str(folder / "img1_cp_masks.png"), LABELS)
    assert len(read(folder, truth)[0].masks) == 2


def test_csv_rows_of_images_without_masks(truth, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("ImageId,EncodedPixels\nimg2,\nimg1,1 2\nimg1,\n")
    assert [len(p.masks) for p in read(path, truth)] == [1, 0]


# --- what cannot: one line that names the file, what was found and what was expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ImageId,EncodedPixels\nimg9,1 2\n", r"prediction for image 'img9', but .*val\.json"),
        ("ImageId,EncodedPixels\nimg1,1 2 3\n", "image images/img1.png: .*3 numbers"),
        ("ImageId,EncodedPixels\nimg1,159 3\n", "img1.png: .*159 3.*beyond the image"),
        ("ImageId,EncodedPixels\nimg1,one two\n", "img1.png: .*'one two'.*whole numbers"),
        ("ImageId,EncodedPixels\nimg1,0 2\n", "img1.png: .*starts count from 1"),
        ("id,predicted\nimg1,150 20\n", "img1.png: .*beyond the image"),
        ("image,rle\nimg1,1 2\n", "found columns image,rle; expected ImageId,EncodedPixels or id"),
        ("", "not a csv file"),
    ],
)
def test_bad_csv(truth, tmp_path, content, message):
    path = tmp_path / "s.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, truth)
    assert str(caught.value).startswith(str(path))


def test_bad_coco_results(truth, tmp_path):
    path = tmp_path / "r.json"
    for content, message in [
        ([result(image_id=9)], "prediction for image_id 9, but"),
        ([result(size=(40, 4))], r"img1\.png: .*\[40, 4\].*\[4, 40\]"),
        ([result(counts=(0, 4))], r"img1\.png: .*covers 4 pixels, but the image has 160"),
        ([{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 1}], "result 0 .*'segmentation'"),
        ([1], "result 0 is no COCO result"),
        ({"images": []}, "found a JSON dict; expected a list"),
    ]:
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message) as caught:
            read(path, truth)
        assert str(caught.value).startswith(str(path))
    path.write_text("[{")
    with pytest.raises(InputError, match=r"r\.json: not JSON"):
        read(path, truth)


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("img1.png", LABELS[:3], r"3x40 pixels .*its image has 4x40"),
        ("img1.tif", LABELS.astype(np.float32) / 2, "found values that are no whole numbers"),
        ("img1.png", np.stack([LABELS] * 3, axis=2), r"in color \(3 channels\)"),
        ("img1.tif", LABELS.astype(np.int16) - 1, "found the label -1"),
        ("img9.png", LABELS, "prediction for image 'img9'"),
    ],
)
def test_bad_label_images(truth, folder, name, labels, message):
    if name.endswith(".png"):
        cv2.imwrite(str(folder / name), labels)
    else:
        tifffile.imwrite(folder / name, labels)
    with pytest.raises(InputError, match=message) as caught:
        read(folder, truth)
    assert str(caught.value).startswith(str(folder / name))


@pytest.mark.parametrize("name", ["img1.png", "img1.tif"])
@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_damaged_label_images(truth, folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(
        InputError, match=rf"{name}: (not an image that can be read|damaged or cut short)"
    ):
        read(folder, truth)


def test_two_label_images_for_one_image(truth, folder):
    cv2.imwrite(str(folder / "img1.png"), LABELS)
    tifffile.imwrite(folder / "img1.tif", LABELS)
    with pytest.raises(InputError, match=r"img1\.tif: img1\.png is there for the same image"):
        read(folder, truth)


def test_nothing_to_read(truth, folder, tmp_path):
    (folder / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"no label images; expected \.png, \.tif or \.npy"):
        read(folder, truth)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere", truth)
    (tmp_path / "p.pth").write_text("")
    with pytest.raises(InputError, match=r"ending with '\.pth'; expected COCO results"):
        read(tmp_path / "p.pth", truth)
