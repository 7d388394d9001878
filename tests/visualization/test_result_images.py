"""Images of predictions beside the ground truth."""

import json

import numpy as np
import pytest
from PIL import Image

from nucdet.errors import InputError
from nucdet.evaluation.ground_truth import GroundTruth
from nucdet.visualization.colors import MISSED
from nucdet.visualization.result_images import TruthSource, visualize_results


@pytest.fixture
def results(registered, tmp_path):
    """Truth as prediction, but one mask is missing where most are; the file and its truth."""
    json_file = registered / "synthetic/annotations/instances_val.json"
    truth = GroundTruth(json_file)
    fullest = max(truth.images, key=lambda image_id: len(truth.masks(image_id)))
    entries = []
    for image_id in truth.images:
        masks = truth.masks(image_id)
        masks = masks[1:] if image_id == fullest else masks
        for rle in masks.to_coco_rle():
            score = 0.5 if image_id == fullest else 0.9
            entry = {"image_id": image_id, "category_id": 1, "segmentation": rle, "score": score}
            entries.append(entry)
    path = tmp_path / "coco_instances_results.json"
    path.write_text(json.dumps(entries))
    return path, truth, truth.images[fullest].stem


def test_results_are_drawn_worst_first(results, tmp_path, like):
    path, truth, fullest = results
    files = visualize_results(path, tmp_path / "out", TruthSource("synthetic_val"), sort="worst")
    assert files[0].stem == fullest and len(files) == len(truth.images) == 4
    best = visualize_results(
        path, tmp_path / "out", TruthSource("synthetic_val"), sort="best", num=3
    )
    assert fullest not in [file.stem for file in best]
    with Image.open(files[0]) as file:
        sheet = np.array(file)
    right = sheet[100:, sheet.shape[1] // 2 :]
    assert like(right, MISSED).any()


def test_score_threshold_and_ground_truth_by_file(results, tmp_path, capsys):
    path, truth, _ = results
    source, options = TruthSource(ground_truth=truth.json_file), {"sort": "worst", "num": 1}
    visualize_results(path, tmp_path / "out", source, score_threshold=0.6, **options)
    assert capsys.readouterr().out.startswith("0.000  ")
    visualize_results(path, tmp_path / "out", source, score_threshold=0.5, **options)
    assert not capsys.readouterr().out.startswith("0.000  ")


def test_names_of_images_may_be_in_another_form_of_unicode(results, tmp_path):
    path, truth, _ = results
    content = json.loads(truth.json_file.read_text())
    (tmp_path / "images").mkdir()
    for number, image in enumerate(content["images"]):
        file = truth.json_file.parent.parent / image["file_name"]
        (tmp_path / f"images/u\u0308{number}.png").write_bytes(file.read_bytes())
        image["file_name"] = f"images/\u00fc{number}.png"
    (tmp_path / "truth.json").write_text(json.dumps(content))
    source = TruthSource(None, tmp_path / "truth.json", tmp_path)
    assert len(visualize_results(path, tmp_path / "out", source)) == 4


def test_bad_wishes_for_results_are_named(results, tmp_path):
    path, truth, _ = results
    out = tmp_path / "out"
    with pytest.raises(InputError, match="'no_such'"):
        visualize_results(path, out, TruthSource("no_such"))
    with pytest.raises(FileNotFoundError, match="--image-root"):
        visualize_results(path, out, TruthSource(None, truth.json_file, tmp_path))
    with pytest.raises(InputError, match="0 images"):
        visualize_results(path, out, TruthSource("synthetic_val"), num=0)
    with pytest.raises(InputError, match="either a data set or"):
        visualize_results(path, out, TruthSource())
    csv = tmp_path / "submission.csv"
    csv.write_text("ImageId,EncodedPixels\n")
    with pytest.raises(InputError, match="no scores"):
        visualize_results(csv, out, TruthSource("synthetic_val"), score_threshold=0.5)
    empty = tmp_path / "empty.json"
    empty.write_text('{"images": [], "annotations": []}')
    with pytest.raises(InputError, match="nothing to draw"):
        visualize_results(path, out, TruthSource(ground_truth=empty))
    assert not out.exists()
